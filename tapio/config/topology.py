"""What can be said of a plan before anything opens: pure.

Sources and sinks are there, bounds agree, the columns and topics that are asked for are made
by somebody, secrets are redacted, and who can stall whom (rule 14).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from tapio.config.node import join
from tapio.model.plan import Plan, Stage, labels, misfits, tag
from tapio.model.policy import Bounds
from tapio.model.schema import WEIGHT, matches
from tapio.model.stage import Batching, Enrich, Sample, Spec
from tapio.model.when import When
from tapio.registry import nearest
from tapio.steps.redact import exposed

Level: TypeAlias = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """Something to say about a place of a plan: ``sinks.1.when``, ``trunk.0``."""

    level: Level
    path: str
    reason: str


def check(plan: Plan) -> list[Finding]:
    """All that is wrong or doubtful, and what each sink does when it is full."""
    rules = (_ends, _names, _policies, _folders, _columns, _topics, _secrets, _stalls)
    return [finding for rule in rules for finding in rule(plan)]


def _ends(plan: Plan) -> Iterator[Finding]:
    for path, specs in (("sources", plan.sources), ("sinks", plan.sinks)):
        if not specs:
            yield Finding("error", path, "a pipeline needs at least one")


def _names(plan: Plan) -> Iterator[Finding]:
    return (Finding("error", path, reason) for path, reason in misfits(plan))


def _policies(plan: Plan) -> Iterator[Finding]:
    memory = plan.settings.memory
    if memory.soft >= memory.hard:
        yield Finding("error", "settings.memory.soft", "must be less than memory.hard")
    for index, sink in enumerate(plan.sinks):
        path = f"sinks.{index}"
        if sink.on_full == "spool":
            said = "the spool is not there yet; use drop_oldest, drop_newest or block"
            yield Finding("error", join(path, "on_full"), said)
        if sink.retry.initial_s > sink.retry.max_s:
            yield Finding("error", join(path, "retry.initial_s"), "must not exceed retry.max_s")


def _folders(plan: Plan) -> Iterator[Finding]:
    """Two sinks of one type must not write to one path."""
    taken: dict[tuple[str, object], int] = {}
    for index, sink in enumerate(plan.sinks):
        path = getattr(sink, "path", None)
        first = taken.setdefault((tag(sink), path), index)
        if path is not None and first != index:
            said = f"sinks.{first} writes there too; give each a path of its own"
            yield Finding("error", f"sinks.{index}.path", said)


def _columns(plan: Plan) -> Iterator[Finding]:
    """Columns that are asked for where nobody makes them, as far as that can be known."""
    made = _given(plan)
    for index, stage in enumerate(plan.trunk):
        yield from _missing(stage, f"trunk.{index}", made)
        made = _after(stage, made)
    for index, sink in enumerate(plan.sinks):
        yield from _missing(sink, f"sinks.{index}", made)


def _given(plan: Plan) -> frozenset[str] | None:
    """The columns that the sources give; None where one does not say."""
    if not all(source.schemas for source in plan.sources):
        return None
    every = (f.name for source in plan.sources for s in source.schemas for f in s.fields)
    return frozenset(every)


def _after(stage: Stage, made: frozenset[str] | None) -> frozenset[str] | None:
    """The columns there are behind ``stage``; None where that is not known."""
    if made is None or (isinstance(stage, Batching) and not stage.regroups):
        return None
    if isinstance(stage, Batching):
        return made
    if isinstance(stage, Sample):
        return made | {WEIGHT.name}
    if isinstance(stage, Enrich):
        return None if stage.adds is None else made | {f.name for f in stage.adds}
    return _after_step(tag(stage), getattr(stage, "columns", ()), made)


def _after_step(kind: str, columns: object, made: frozenset[str]) -> frozenset[str] | None:
    """The same for the built-in steps; of another's nothing is known."""
    if kind == "rename" and isinstance(columns, Mapping):
        return made | set(columns.values())
    return made if kind in ("filter", "redact", "drop") else None


def _missing(spec: Spec, path: str, made: frozenset[str] | None) -> Iterator[Finding]:
    for at, column in _asked(spec, path):
        if made is not None and column not in made:
            hint = nearest(column, made)
            yield Finding("error", at, f"no stage before this makes a column {column!r}{hint}")


def _asked(spec: Spec, path: str) -> Iterator[tuple[str, str]]:
    """(place, column) of each column that a stage names."""
    for field in msgspec.structs.fields(type(spec)):
        value, at = getattr(spec, field.name), join(path, field.encode_name)
        if isinstance(value, When):
            yield from ((p, w.field) for p, w in _nodes(value, at) if w.field is not None)
        elif field.name == "columns" and isinstance(value, Mapping):
            yield from ((join(at, c), c) for c in value)
        elif field.name == "columns" and isinstance(value, tuple | list):
            yield from ((join(at, str(i)), c) for i, c in enumerate(value) if isinstance(c, str))


def _nodes(when: When, path: str) -> Iterator[tuple[str, When]]:
    """Each node of the tree with its place."""
    yield path, when
    for key, below in (("all", when.all), ("any", when.any)):
        for index, node in enumerate(below or ()):
            yield from _nodes(node, join(path, f"{key}.{index}"))
    if when.not_ is not None:
        yield from _nodes(when.not_, join(path, "not"))


def _topics(plan: Plan) -> Iterator[Finding]:
    """Topics that a ``when`` asks for and no source gives."""
    known = [s.topic for source in plan.sources for s in source.schemas]
    emits = any(isinstance(s, Batching) and not s.regroups for s in plan.trunk)
    if emits or not all(source.schemas for source in plan.sources):
        return
    stages = [(f"trunk.{i}", s) for i, s in enumerate(plan.trunk)]
    stages += [(f"sinks.{i}", s) for i, s in enumerate(plan.sinks)]  # type: ignore[misc]
    for path, spec in stages:
        for at, topic in _wanted(spec, path):
            if not any(matches(t, [topic]) for t in known):
                hint = nearest(topic, {*known, *(t.partition(".")[0] for t in known)})
                yield Finding("warning", at, f"no source gives {topic!r}{hint}")


def _wanted(spec: Spec, path: str) -> Iterator[tuple[str, str]]:
    """(place, topic) of each topic that a stage names."""
    for field in msgspec.structs.fields(type(spec)):
        value, at = getattr(spec, field.name), join(path, field.encode_name)
        nodes = _nodes(value, at) if isinstance(value, When) else ()
        named = [(join(p, "topic"), w.topic or ()) for p, w in nodes]
        if field.name == "topic" and isinstance(value, tuple):
            named.append((at, value))
        yield from ((join(p, str(i)), t) for p, topics in named for i, t in enumerate(topics))


def _secrets(plan: Plan) -> Iterator[Finding]:
    """Columns that may hold secrets and that nobody redacts, or drops everywhere."""
    if any(tag(stage) == "redact" for stage in plan.trunk):
        return
    drops = [s for s in plan.trunk if tag(s) == "drop" and not getattr(s, "topic", ())]
    dropped = {column for stage in drops for column in getattr(stage, "columns", ())}
    for index, source in enumerate(plan.sources):
        open_ = {c for s in source.schemas for c in exposed(s)} - dropped
        if open_:
            said = (
                f"{', '.join(sorted(open_))} may hold secrets and no redact stands before "
                "the sinks; add `steps: [{type: redact}]`"
            )
            yield Finding("warning", f"sources.{index}", said)


def _stalls(plan: Plan) -> Iterator[Finding]:
    """Rule 14: what each sink does when it is full, to whom, and after how long."""
    names = labels(plan.sinks)
    for index, sink in enumerate(plan.sinks):
        policy = plan.on_full(sink)
        others = ", ".join(name for name in names if name != names[index])
        if policy == "block":
            does = f"it stalls the sources{', and with them ' if others else ''}{others}"
        else:
            does = f"it drops its {policy.removeprefix('drop_')} rows, and stalls nobody"
        if policy != "spool":
            said = f"when full ({_fills(sink.channel, _rate(plan))}) {does}"
            yield Finding("note", f"sinks.{index}", said)


def _rate(plan: Plan) -> float:
    """The most rows a second that reach the sinks; 0 where it is not known."""
    targets = [getattr(s, "target_per_s", 0) for s in plan.trunk if isinstance(s, Sample)]
    return float(next((t for t in reversed(targets) if t), 0))


def _fills(bounds: Bounds, rate: float) -> str:
    size = f"{bounds.bytes / (1 << 20):g} MiB"
    said = f"{bounds.rows:,} rows or {size}"
    return f"{said}; at {rate:g} rows/s not before {duration(bounds.rows / rate)}" if rate else said


def duration(seconds: float) -> str:
    """A duration as people say it: ``87 s``, ``12 min``, ``5 h``."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
