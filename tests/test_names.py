"""The public names, and one noun for each stage: config key, class tag, file, entry point."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tapio

ROOT = Path(__file__).parent.parent
SNAPSHOT = ROOT / "tests/golden/public_names.txt"
ROOMS = {
    "tapio.sources": "sources",
    "tapio.enrichers": "enrich",
    "tapio.samplers": "sample",
    "tapio.batchers": "batch",
    "tapio.steps": "steps",
    "tapio.sinks": "sinks",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENTRIES = [
    (group, key, target)
    for group, keys in PROJECT["entry-points"].items()
    for key, target in keys.items()
]


def public_names() -> list[str]:
    """Every name that a user may import, sorted."""
    names = list(tapio.__all__)
    for room in ROOMS.values():
        names += [f"{room}.{name}" for name in importlib.import_module(f"tapio.{room}").__all__]
    return sorted(names)


def shown_to_checkers(file: Path) -> set[str]:
    """What a package imports under TYPE_CHECKING."""
    return {
        alias.asname or alias.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.If)
        for line in node.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }


@pytest.mark.parametrize(("group", "key", "target"), ENTRIES)
def test_one_noun_for_a_stage(group: str, key: str, target: str) -> None:
    """The config key is the class tag is the file's stem, and the room re-exports the class."""
    module, _, name = target.partition(":")
    spec = getattr(importlib.import_module(module), name)
    assert module.rpartition(".")[2] == key == spec.__struct_config__.tag
    assert name.lower() == key.replace("_", "")
    room = importlib.import_module(f"tapio.{ROOMS[group]}")
    assert getattr(room, name) is spec


@pytest.mark.parametrize(("group", "room"), ROOMS.items())
def test_a_room_names_what_is_installed_and_nothing_else(group: str, room: str) -> None:
    """``__all__``, the imports that checkers see and the entry points say the same."""
    package = importlib.import_module(f"tapio.{room}")
    installed = {target.partition(":")[2] for g, _, target in ENTRIES if g == group}
    assert set(package.__all__) == installed
    assert shown_to_checkers(ROOT / "tapio" / room / "__init__.py") == installed


def test_the_public_names_are_those_agreed() -> None:
    """A name that comes or goes is seen in review; write the file anew to agree."""
    assert public_names() == SNAPSHOT.read_text().split()
    assert all(getattr(tapio, name) is not None for name in tapio.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt stage is an AttributeError that names it, as of any module."""
    with pytest.raises(AttributeError, match=r"'tapio\.sinks' has no attribute 'Otpl'"):
        tapio.sinks.Otpl  # noqa: B018


def test_a_prompt_can_complete_the_names() -> None:
    """What is imported at first use is listed before it."""
    assert set(tapio.__all__) <= set(dir(tapio))


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    """``import tapio`` is soon over: it leaves numpy, the engine and every stage unloaded."""
    code = "import sys, tapio; print([m for m in sys.modules if m.startswith(('tapio.engine', "
    code += "'tapio.sinks', 'tapio.sources', 'aiohttp', 'opentelemetry', 'asyncio', 'numpy'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
