"""The lint bans: tasks live in a TaskGroup, and only the engine catches everything."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUFF = Path(sys.executable).with_name("ruff")


CATCHES_ALL = ROOT / "tapio/testing.py"
"""Asks how a run ended, so whatever ends it is an answer."""


def ruff_codes(source: str, file: str) -> set[str]:
    """The codes that ruff, configured as for this repository, gives ``source`` as ``file``."""
    command = [RUFF, "check", "--no-cache", "--output-format=concise", "--stdin-filename", file]
    done = subprocess.run(
        [*command, "-"], input=source, capture_output=True, text=True, cwd=ROOT, check=False
    )
    return {word for word in done.stdout.split() if word[:1].isupper() and word[-1:].isdigit()}


def group_names(tree: ast.Module) -> set[str]:
    """The names that a file gives its TaskGroups, by ``async with`` or by annotation."""
    named: list[tuple[ast.AST | None, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncWith):
            named += [(i.context_expr, ast.unparse(i.optional_vars or i)) for i in node.items]
        elif isinstance(node, ast.arg):
            named.append((node.annotation, node.arg))
        elif isinstance(node, ast.AnnAssign):
            named.append((node.annotation, ast.unparse(node.target)))
    names = {name for said, name in named if said and "TaskGroup" in ast.unparse(said)}
    return names | {f"self.{n}" for n in names} | {f"self._{n}" for n in names}


def bare_tasks(source: str) -> list[int]:
    """Lines that start a task on anything but a TaskGroup: ruff sees only ``asyncio.``'s own."""
    tree = ast.parse(source)
    groups = group_names(tree)
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "create_task"
        and ast.unparse(node.func.value) not in groups
    ]


def test_every_task_lives_in_a_group() -> None:
    """No module starts a task that nobody waits for."""
    files = sorted((ROOT / "tapio").rglob("*.py"))
    found = {str(f.relative_to(ROOT)): bare_tasks(f.read_text()) for f in files}
    assert {file: lines for file, lines in found.items() if lines} == {}


def test_a_planted_bare_task_is_found() -> None:
    """A task on the loop is a fault; one on a group, held under any name, is none."""
    assert bare_tasks("asyncio.get_running_loop().create_task(f())") == [1]
    assert bare_tasks("loop.create_task(f())") == [1]
    assert bare_tasks("async def g():\n async with TaskGroup() as tg:\n  tg.create_task(f())") == []
    assert bare_tasks("def g(tasks: asyncio.TaskGroup):\n tasks.create_task(f())") == []


@pytest.mark.parametrize("name", ["gather", "shield", "create_task", "ensure_future", "wait_for"])
@pytest.mark.parametrize("file", ["tapio/engine/planted.py", "tapio/sinks/planted.py"])
def test_ruff_refuses_the_banned_calls(name: str, file: str) -> None:
    """Each banned function of asyncio is refused, in the engine too, however it is imported."""
    assert "TID251" in ruff_codes(f"import asyncio\n\nasyncio.{name}(None)\n", file)
    assert "TID251" in ruff_codes(f"from asyncio import {name}\n\n{name}(None)\n", file)


def test_only_the_engine_catches_everything() -> None:
    """``except Exception`` is refused outside engine/, and with it a bare ``except``."""
    source = "try:\n    x = 1\nexcept Exception:\n    x = 2\n"
    assert "BLE001" in ruff_codes(source, "tapio/sinks/planted.py")
    assert "BLE001" not in ruff_codes(source, "tapio/engine/planted.py")
    assert ruff_codes(source.replace(" Exception", ""), "tapio/sinks/planted.py") & {"E722"}


def test_nothing_switches_a_ban_off() -> None:
    """No module of Tapio silences one of the bans on a line of its own."""
    files = [*(ROOT / "tapio").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    silenced = [
        f"{f.relative_to(ROOT)}:{n}"
        for f in sorted(files)
        for n, line in enumerate(f.read_text().splitlines(), 1)
        if "noqa" in line and any(code in line for code in ("TID251", "BLE", "E722", "S301"))
        if not (f == CATCHES_ALL and "BLE001" in line)
    ]
    assert silenced == []
