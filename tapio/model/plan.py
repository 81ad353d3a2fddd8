"""``Plan``: a whole pipeline as a value, before anything opens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from tapio.model.policy import OnFull, Settings
from tapio.model.stage import Batching, Enrich, Sample, Sink, Source, Spec, Step

Stage: TypeAlias = Enrich | Step | Sample | Batching
"""What stands on the trunk, between sources and sinks."""


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
