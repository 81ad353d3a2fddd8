"""``Plan``: a whole pipeline as a value, before anything opens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import UnionType
from typing import TypeAlias

from tapio.model.policy import OnFull, Settings
from tapio.model.stage import Batching, Enrich, Sample, Sink, Source, Spec, Step

Stage: TypeAlias = Enrich | Step | Sample | Batching
"""What stands on the trunk, between sources and sinks."""

MAX_NAME = 100
"""Bytes of a name; what is called after it adds a suffix, and a file's name has 255."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Sources, the trunk in its order, sinks. Two plans of equal specs are equal."""

    name: str
    sources: tuple[Source, ...]
    trunk: tuple[Stage, ...]
    sinks: tuple[Sink, ...]
    settings: Settings = field(default_factory=Settings)

    def on_full(self, sink: Sink) -> OnFull:
        """What ``sink``'s full channel does: what it says, else what loses nothing (rule 14).

        Where every source can give its rows again they wait; else the oldest are dropped.
        """
        replayable = all(type(source).replayable for source in self.sources)
        return sink.on_full or ("block" if replayable else "drop_oldest")


def misfits(plan: Plan) -> Iterator[tuple[str, str]]:
    """(place, what to do) for each thing that can be in no plan, as types would say it too."""
    rooms: tuple[tuple[str, tuple[object, ...], type | UnionType], ...] = (
        ("sources", plan.sources, Source),
        ("trunk", plan.trunk, Stage),
        ("sinks", plan.sinks, Sink),
    )
    if fault := misnomer(plan.name):
        yield "pipeline", fault
    for room, specs, kind in rooms:
        for index, spec in enumerate(specs):
            if not isinstance(spec, kind):
                yield f"{room}.{index}", f"a {type(spec).__name__} cannot stand there"
            elif isinstance(spec, Spec) and spec.name and (fault := misnomer(spec.name)):
                yield f"{room}.{index}.name", fault


def misnomer(name: str) -> str:
    """Why nothing is called ``name``, which becomes a file's name too; empty where it may."""
    if name.isprintable() and 0 < len(name.encode()) <= MAX_NAME and "/" not in name:
        return "a name begins with no dot" if name.startswith(".") else ""
    return f"a name has 1 to {MAX_NAME} bytes that can be printed, and no /"


def tag(spec: Spec) -> str:
    """A stage's type: its class tag, which is its config key and its file's stem."""
    return str(type(spec).__struct_config__.tag)


def labels(specs: Iterable[Spec]) -> tuple[str, ...]:
    """What metrics and the ledger call each spec: its name, else its type.

    The second spec of one label gets ``-2``, and so on: ``otlp``, ``otlp-2``.
    """
    seen: Counter[str] = Counter()
    given = []
    for spec in specs:
        label = spec.name or tag(spec)
        seen[label] += 1
        given.append(label if seen[label] == 1 else f"{label}-{seen[label]}")
    return tuple(given)
