"""The builder: a value, and what it refuses before anything opens."""

from __future__ import annotations

from typing import Any

import pytest

from tapio import ConfigError, Pipeline, sinks, sources, steps
from tapio.model.plan import misnomer


def built(name: str = "node", stage: str = "") -> Pipeline:
    """A pipeline with one stage of each room."""
    pipeline = Pipeline(name).source(sources.Synthetic(count=1))
    return pipeline.step(steps.Redact(name=stage)).sink(sinks.Console())


def test_a_pipeline_is_a_value() -> None:
    """What is built alike is equal, prints what it is made of, and is changed by no call."""
    assert built() == built() == Pipeline.of(built().plan)
    assert built() != built("other")
    assert built() != built().plan
    assert "Synthetic(" in repr(built())
    before = built()
    assert before.sink(sinks.Console()) != before == built()


@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        (Pipeline("x").sink(sinks.Console()), "has no source"),
        (Pipeline("x").source(sources.Synthetic()), "has no sink"),
        (built("../x"), "^pipeline: a name has .* no /"),
        (built(stage=".."), "^trunk.0.name: a name begins with no dot"),
    ],
)
async def test_what_cannot_run_is_refused(pipeline: Pipeline, reason: str) -> None:
    """One sentence with its place, and nothing is opened."""
    with pytest.raises(ConfigError, match=reason):
        await pipeline.run()


@pytest.mark.parametrize("misfit", [sinks.Console(), "procfs", sources.Synthetic])
async def test_a_stage_in_another_s_place_is_refused(misfit: Any) -> None:
    """Whoever has no type checker is told all the same, before a sink is opened."""
    with pytest.raises(ConfigError, match=r"^sources\.1: a (Console|str|StructMeta) cannot stand"):
        await built().source(misfit).run()


@pytest.mark.parametrize("name", ["a", "node 1", "käse", "a.b", "n" * 100])
def test_names(name: str) -> None:
    """Words of any language."""
    assert misnomer(name) == ""


@pytest.mark.parametrize(
    "name", ["", "/", "a/b", "..", ".a", "a\0", "a\nb", "\x1b[2J", "\ud800", "n" * 101, "ä" * 51]
)
def test_no_names(name: str) -> None:
    """What would leave its folder, have no place in one, or command a terminal."""
    assert "a name" in misnomer(name)
