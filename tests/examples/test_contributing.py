"""The plugin template of CONTRIBUTING.md, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.feed import Feed
from tapio import Pipeline, Registry, Settings

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def block(language: str) -> str:
    """The first code block of that language."""
    found = re.search(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def template() -> dict[str, Any]:
    """The template's names, after it has run."""
    names: dict[str, Any] = {"__name__": "my_package"}
    exec(compile(block("python"), "CONTRIBUTING.md", "exec"), names)
    return names


async def test_the_template_is_a_working_sink(
    template: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It takes configuration and rows, and needs nothing else."""
    sink = template["Shout"]("!!", max_rows=10)
    settings = Settings(state_dir=str(tmp_path))
    await Pipeline("demo").source(Feed(2, rows=10)).sink(sink).settings(settings).run()
    assert capsys.readouterr().out == "BENCH.RECORD 10 !!\n" * 2


def test_the_template_is_taken_by_the_registry(template: dict[str, Any]) -> None:
    """Its class and its entry point's key bear the same word."""
    registry = Registry()
    registry.add("sink", template["Shout"])
    key, _, name = block("toml").splitlines()[1].partition(' = "my_package:')
    assert registry.get("sink", key) is template[name.rstrip('"')]


def test_the_make_targets_that_are_named_exist() -> None:
    """Every ``make`` line of the page names a target."""
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"^make ([a-z]+)", TEXT, re.MULTILINE)
    assert len(named) >= 5
    assert set(named) <= set(targets)
