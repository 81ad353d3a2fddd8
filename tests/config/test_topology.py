"""What is said of a plan before anything opens."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import pytest

from tapio.config.topology import Finding, check, duration
from tapio.model.plan import Plan, Stage
from tapio.model.policy import Bounds, Memory, Retry, Settings
from tapio.model.schema import ENTITY, Field
from tapio.model.stage import Batching, Enrich, Sink, Source, Step
from tapio.model.when import When
from tapio.steps.drop import Drop
from tapio.steps.rename import Rename
from tests.specs import Adaptive, Anything, By, Cgroup, File, Filter, Network, Otlp, Process, Redact


class Known(Enrich, frozen=True, tag="known"):
    """An enricher that says what it adds."""

    adds: ClassVar[tuple[Field, ...]] = (ENTITY, Field("zone", "text"))


class Summarize(Batching, frozen=True, tag="summarize"):
    """Makes rows of its own."""


class Shape(msgspec.Struct, frozen=True):
    """A column as somebody else may describe it."""

    name: str


class Odd(Step, frozen=True, tag="odd"):
    """A step of somebody else's: what it does to columns is not known."""

    columns: tuple[Shape, ...] = (Shape("x"),)


def plan(
    *trunk: Stage,
    sources: tuple[Source, ...] = (Process(),),
    sinks: tuple[Sink, ...] = (Otlp(),),
    settings: Settings | None = None,
) -> Plan:
    """A plan of these."""
    return Plan("node", sources, trunk, sinks, settings or Settings())


def found(plan: Plan, level: str) -> list[tuple[str, str]]:
    """(path, reason) of the findings of a level."""
    return [(f.path, f.reason) for f in check(plan) if f.level == level]


def test_nothing_is_wrong() -> None:
    """A whole pipeline has no errors and no warnings."""
    whole = plan(Cgroup(), Redact(), Adaptive(), By(), sinks=(File("out"), Otlp()))
    assert {f.level for f in check(whole)} == {"note"}


def test_ends() -> None:
    """A pipeline without a source, or without a sink, is an error."""
    assert found(plan(sources=()), "error") == [("sources", "a pipeline needs at least one")]
    assert found(plan(sinks=()), "error") == [("sinks", "a pipeline needs at least one")]


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (plan(settings=Settings(memory=Memory(soft=2, hard=1))), "settings.memory.soft"),
        (plan(settings=Settings(memory=Memory(soft=2, hard=2))), "settings.memory.soft"),
        (plan(sinks=(Otlp(), Otlp(on_full="spool"))), "sinks.1.on_full"),
        (plan(sinks=(Otlp(retry=Retry(initial_s=2, max_s=1)),)), "sinks.0.retry.initial_s"),
        (plan(sinks=(File("a"), File("b"), File("a"))), "sinks.2.path"),
    ],
)
def test_settings_that_disagree(wrong: Plan, path: str) -> None:
    """Bounds the wrong way round, the spool that is not there, and a shared folder are errors."""
    assert [p for p, _ in found(wrong, "error")] == [path]


@pytest.mark.parametrize(
    ("trunk", "sinks", "paths"),
    [
        ((Filter(When(field="exit_cod", ne=0)),), (), ["trunk.0.where"]),
        ((Filter(When(field="exit_code", ne=0)),), (), []),
        ((Filter(When(field="severity", ge=9)),), (), []),
        ((), (Otlp(when=When(field="weight", gt=1)),), ["sinks.0.when"]),
        ((Adaptive(),), (Otlp(when=When(field="weight", gt=1)),), []),
        ((Known(),), (Otlp(when=When(field="zone", eq="a")),), []),
        ((Known(),), (Otlp(when=When(field="zones", eq="a")),), ["sinks.0.when"]),
        ((Cgroup(),), (Otlp(when=When(field="zones", eq="a")),), []),
        ((Odd(),), (Otlp(when=When(field="zones", eq="a")),), []),
        ((Summarize(),), (Otlp(when=When(field="zones", eq="a")),), []),
        ((By(),), (Otlp(when=When(field="zones", eq="a")),), ["sinks.0.when"]),
        ((Drop(columns=("argv", "arg")),), (), ["trunk.0.columns.1"]),
        ((Rename(columns={"pidd": "id"}),), (), ["trunk.0.columns.pidd"]),
        ((Rename(columns={"pid": "id"}),), (Otlp(when=When(field="id", eq=1)),), []),
        (
            (),
            (Otlp(when=When(any=(When(severity=9), When(not_=When(field="x", eq=1))))),),
            ["sinks.0.when.any.1.not"],
        ),
    ],
)
def test_columns_that_nobody_makes(
    trunk: tuple[Stage, ...], sinks: tuple[Sink, ...], paths: list[str]
) -> None:
    """A column is an error where it is certain that no stage before makes it."""
    assert [p for p, _ in found(plan(*trunk, sinks=sinks or (Otlp(),)), "error")] == paths


def test_a_missing_column_is_nearly_another() -> None:
    """The sentence names the column that was meant."""
    wrong = plan(Filter(When(field="exit_cod", ne=0)))
    reason = found(wrong, "error")[0][1]
    assert reason == "no stage before this makes a column 'exit_cod'; did you mean 'exit_code'?"


def test_a_source_that_does_not_say_ends_the_certainty() -> None:
    """Beside a source whose rows are not known, no column and no topic is complained about."""
    when = When(all=(When(field="anything", eq=1), When(topic=("any",))))
    assert found(plan(sources=(Process(), Anything()), sinks=(Otlp(when=when),)), "error") == []
    assert (
        len(found(plan(sources=(Process(), Anything()), sinks=(Otlp(when=when),)), "warning")) == 1
    )


def test_topics_that_nobody_gives() -> None:
    """A topic that no source gives is a warning, at its place; an observer's name is enough."""
    when = When(topic=("process", "process.exec", "proces.exec", "dns"))
    warned = found(
        plan(Redact(), Drop(columns=("pid",), topic=("x",)), sinks=(Otlp(when=when),)), "warning"
    )
    assert warned == [
        ("trunk.1.topic.0", "no source gives 'x'"),
        ("sinks.0.when.topic.2", "no source gives 'proces.exec'; did you mean 'process.exec'?"),
        ("sinks.0.when.topic.3", "no source gives 'dns'"),
    ]
    made = plan(Redact(), Summarize(), sinks=(Otlp(when=when),))
    assert found(made, "warning") == []


def test_secrets_that_nobody_redacts() -> None:
    """A source of command lines without redact is a warning; without argv there is none."""
    warned = found(plan(Cgroup(), sources=(Network(), Process())), "warning")
    assert [p for p, _ in warned] == ["sources.1"]
    assert "argv may hold secrets and no redact stands before the sinks" in warned[0][1]
    assert found(plan(Redact()), "warning") == []
    assert found(plan(Drop(columns=("argv",))), "warning") == []
    assert len(found(plan(Drop(columns=("argv",), topic=("process.exit",))), "warning")) == 1
    assert found(plan(sources=(Network(),)), "warning") == []


def test_what_a_full_sink_does() -> None:
    """Rule 14: it drops where a source cannot repeat, else it stalls the others; after how long."""
    drops = plan(Redact(), Adaptive(target_per_s=500))
    assert Finding(
        "note",
        "sinks.0",
        "when full (262,144 rows or 64 MiB; at 500 rows/s not before 9 min) "
        "it drops its oldest rows, and stalls nobody",
    ) in check(drops)
    small = Bounds(rows=1000, bytes=1 << 19)
    blocks = plan(sources=(Network(),), sinks=(Otlp(name="a", channel=small), File("x"), Otlp()))
    assert found(blocks, "note")[0] == (
        "sinks.0",
        "when full (1,000 rows or 0.5 MiB) it stalls the sources, and with them file, otlp",
    )
    assert found(plan(sources=(Network(),)), "note")[0][1].endswith("it stalls the sources")
    newest = plan(sources=(Network(),), sinks=(Otlp(on_full="drop_newest"),))
    assert "it drops its newest rows" in found(newest, "note")[0][1]


def test_durations() -> None:
    """Durations are said roughly, as people say them."""
    assert [duration(s) for s in (0.25, 87, 524, 9000)] == ["0.25 s", "87 s", "9 min", "2 h"]
