"""Style that a machine can hold: sizes, names, tests that say and assert, links that resolve."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parent.parent
Checker: TypeAlias = Callable[[str, str], list[str]]

FUNCTION_LINES, FILE_LINES, TEST_FILE_LINES = 70, 400, 500
"""No function and no file is longer; the medians below are what we aim at."""
MEDIAN_FUNCTION, MEDIAN_FILE = 15, 250

TEXT = {".py", ".md", ".toml", ".c", ".h", ".yaml", ".yml", ".sh", ".cfg", ""}
BANNED_NAME = re.compile(
    r"manager|helpers?|utils?|base|impl|enhanced|optimi[sz]ed|misc|v[2-9]", re.IGNORECASE
)
UNFINISHED = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
ONE_MACHINE = re.compile(r"(?<![\w.~$}-])/(?:home|root|Users|work|mnt)/\w")
BANNER = re.compile(r"^\s*(?:#|//|/\*)\s*([-=*#~_])\1{5,}")
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")


def tracked() -> Iterator[tuple[str, str]]:
    """(path, text) of every file of the repository that is text."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.suffix in TEXT and path.is_file() and "LICENSE" not in path.name:
            yield name, path.read_text(encoding="utf-8")


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of ``source``, inner ones too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the last one."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def long_functions(source: str, file: str) -> list[str]:
    """Functions over the limit."""
    if not file.endswith(".py"):
        return []
    return [
        f"{file}:{f.lineno}: {f.name} has {length(f)} lines, more than {FUNCTION_LINES}"
        for f in functions(source)
        if length(f) > FUNCTION_LINES
    ]


def long_files(source: str, file: str) -> list[str]:
    """A file over the limit."""
    lines, most = source.count("\n"), TEST_FILE_LINES if file[:6] == "tests/" else FILE_LINES
    return [f"{file}: {lines} lines, more than {most}"] if lines > most else []


def unfinished(source: str, file: str) -> list[str]:
    """Marks of work put off."""
    return by_line(UNFINISHED, source, file)


def machine_paths(source: str, file: str) -> list[str]:
    """Paths that exist on one machine only."""
    return by_line(ONE_MACHINE, source, file)


def banners(source: str, file: str) -> list[str]:
    """Comments that decorate."""
    return [] if file.endswith(".md") else by_line(BANNER, source, file)


def by_line(pattern: re.Pattern[str], source: str, file: str) -> list[str]:
    """Lines that ``pattern`` is found in."""
    lines = enumerate(source.splitlines(), 1)
    return [f"{file}:{n}: {line.strip()}" for n, line in lines if pattern.search(line)]


def vague_names(source: str, file: str) -> list[str]:
    """Names of files, classes and functions that say nothing."""
    named = [(Path(file).stem, 0)]
    if file.endswith(".py"):
        named += [
            (node.name, node.lineno)
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ]
    return [f"{file}:{line}: {name}" for name, line in named if any(map(vague, words(name)))]


def words(name: str) -> list[str]:
    """The words of a snake_case or CamelCase name."""
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+\d*|\d+", name)


def vague(word: str) -> bool:
    """Whether the word is one of the banned."""
    return BANNED_NAME.fullmatch(word) is not None


def mute_tests(source: str, file: str) -> list[str]:
    """Tests that say not what they prove, or prove nothing."""
    if not Path(file).name.startswith("test_"):
        return []
    proving = asserting(source)
    faults = []
    for test in functions(source):
        if test.name.startswith("test_"):
            said = (ast.get_docstring(test) or "").strip()
            if not said.endswith((".", "?", '"', "``")):
                faults.append(f"{file}:{test.lineno}: {test.name} has no sentence")
            if test.name not in proving:
                faults.append(f"{file}:{test.lineno}: {test.name} asserts nothing")
    return faults


def asserting(source: str) -> set[str]:
    """Functions that assert, or that call one that does."""
    bodies = {f.name: f for f in functions(source)}
    proving = {name for name, body in bodies.items() if asserts(body)}
    while more := {n for n, b in bodies.items() if n not in proving and called(b) & proving}:
        proving |= more
    return proving


def asserts(body: ast.AST) -> bool:
    """Whether an assert, ``pytest.raises``, ``warns`` or an ``assert_…`` call stands in it."""
    return any(isinstance(node, ast.Assert) for node in ast.walk(body)) or any(
        name in {"raises", "warns", "fail", "run_state_machine_as_test"}
        or name.startswith("assert")
        for name in called(body)
    )


def called(body: ast.AST) -> set[str]:
    """The names that are called in it."""
    calls = (node.func for node in ast.walk(body) if isinstance(node, ast.Call))
    return {getattr(func, "attr", getattr(func, "id", "")) for func in calls}


def dead_links(source: str, file: str) -> list[str]:
    """Links of a Markdown file to a file or a heading that is not there."""
    if not file.endswith(".md"):
        return []
    faults = []
    for target in LINK.findall(source):
        path, _, heading = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        aim = (ROOT / file).parent / path if path else ROOT / file
        if not aim.exists():
            faults.append(f"{file}: {target} is not there")
        elif heading and heading not in headings(source if not path else aim.read_text()):
            faults.append(f"{file}: {target} has no such heading")
    return faults


def headings(markdown: str) -> set[str]:
    """The anchors that a Markdown file's headings give."""
    titles = re.findall(r"^#+ +(.+?) *$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


PLANTED: list[tuple[Checker, str, str]] = [
    (long_functions, "tapio/x.py", "def f():\n" + "    a = 1\n" * FUNCTION_LINES),
    (long_files, "tapio/x.py", "a = 1\n" * (FILE_LINES + 1)),
    (long_files, "tests/test_x.py", "a = 1\n" * (TEST_FILE_LINES + 1)),
    (unfinished, "tapio/x.py", "a = 1  # TO" + "DO: more"),
    (machine_paths, "README.md", "cd /ro" + "ot/tapio"),
    (machine_paths, "Makefile", "\tcat /ho" + "me/me/x"),
    (banners, "tapio/x.py", "# " + "-" * 20),
    (banners, "bpf/x.bpf.c", "/* " + "=" * 20),
    (vague_names, "tapio/x.py", "class SinkManager: ..."),
    (vague_names, "tapio/x.py", "def parse_v2(): ..."),
    (vague_names, "tapio/utils.py", ""),
    (mute_tests, "tests/test_x.py", "def test_a():\n    assert True"),
    (mute_tests, "tests/test_x.py", 'def test_a():\n    """It runs."""\n    run()'),
    (dead_links, "README.md", "[there](no/such/file.md)"),
    (dead_links, "README.md", "# Title\n[there](#other)"),
]
CHECKERS = sorted({checker for checker, _, _ in PLANTED}, key=lambda c: c.__name__)


@pytest.mark.parametrize("checker", CHECKERS, ids=lambda c: c.__name__)
def test_the_repository_is_tidy(checker: Checker) -> None:
    """No tracked file has a fault that the checker knows."""
    assert [fault for file, text in tracked() for fault in checker(text, file)] == []


@pytest.mark.parametrize(("checker", "file", "source"), PLANTED)
def test_a_planted_fault_is_found(checker: Checker, file: str, source: str) -> None:
    """Each checker finds what it is for."""
    assert len(checker(source, file)) == 1


def test_what_is_right_is_no_fault() -> None:
    """The checkers let pass what only looks alike."""
    proof = 'def test_a():\n    """It holds."""\n    check()\ndef check():\n    assert 1'
    assert mute_tests(proof, "tests/test_x.py") == []
    assert vague_names("class Database: ...\ndef implied(): ...", "tapio/x.py") == []
    assert dead_links("# A title, said\n[x](#a-title-said) [y](https://a.b/c)", "README.md") == []
    assert machine_paths("path: ~/work/x and /proc/1 and host/root/x", "README.md") == []


def test_functions_and_files_stay_small() -> None:
    """Half the functions have at most 15 lines, half the files at most 250."""
    ours = [text for file, text in tracked() if file.startswith("tapio/") and file.endswith(".py")]
    assert statistics.median(length(f) for text in ours for f in functions(text)) <= MEDIAN_FUNCTION
    assert statistics.median(text.count("\n") for text in ours) <= MEDIAN_FILE
