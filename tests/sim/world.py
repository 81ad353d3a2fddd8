"""A world from a seed: a topology, how each part of it behaves, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np

from tapio.model.batch import Batch
from tapio.model.plan import Plan
from tapio.model.schema import ERROR
from tests.sim import draw
from tests.sim.books import Books, SinkTerms, Uids, Way
from tests.sim.ends import Drain, Flows, Replays, Seen, Spring, Takes
from tests.sim.referee import Model, Referee
from tests.sim.stages import (
    Ask,
    Asking,
    Fold,
    Gather,
    Label,
    Mood,
    Part,
    Sieve,
    Thin,
    Watch,
    Windows,
)

STAGES = (Sieve, Sieve, Thin, Label, Ask, Ask, Gather, Gather, Fold, Watch)


class World:
    """All that a simulated run is made of; the same seed gives the same world."""

    def __init__(self, seed: int, now: Callable[[], float], pressed: Callable[[], bool]) -> None:
        self.random = random = Random(seed)
        self.pressed = pressed
        self.sheds = random.random() < 0.15
        sinks = random.choice([1, 1, 2, 2, 3, 4])
        self.books = Books(sinks, self.sheds, now)
        self.springs: list[Spring] = []
        self.drains: list[Drain] = []
        self.parts: list[Part] = []
        self.windows: list[Windows] = []
        self.askings: list[Asking] = []
        self.bury_s = random.choice([0.0, 0.0, 0.02, 0.3])
        self.durable = random.choice([1.0, 1.0, 0.6, 0.0])
        self.buried_at = 0.0
        ids: dict[str, tuple[int, int, bytes]] = {}
        self.plan = Plan(
            "sim",
            tuple(self._source(f"s{n}") for n in range(random.choice([1, 1, 2, 3]))),
            tuple(self._stages(random.choice([0, 1, 1, 2, 2, 3, 4, 6]))),
            tuple(self._sink(n, ids) for n in range(sinks)),
            draw.settings(random, sheds=self.sheds),
        )
        for spring in self.springs:
            spring.stop_s = self.plan.settings.stop_s
        for asking in self.askings:
            asking.policy = self.plan.settings.parking
        ill = any(drain.spells[-1].shares for drain in self.drains)
        self.ends = draw.ends(random, endless=ill or any(s.endless for s in self.springs))

    async def bury(self, batch: Batch, source: str, stage: str, reason: str) -> bool:
        """The dead letters of this world: slow, and not always durable."""
        books, uids = self.books, batch["uid"]
        labels = [d.referee.label for d in self.drains]
        sink = labels.index(stage) if stage in labels else None
        if not books.doomed[0 if sink is None else 1 + sink, uids].all():
            books.fault("rules 11, 13, 21", f"{stage}: dead letters of rows that nobody refused")
        if (books.source[uids] != books.name(source)).any():
            books.fault("rule 10", f"dead letters of {source} hold rows of others")
        await self._dig(sink)
        durable = self.random.random() < self.durable
        way, self.buried_at = Way.BURIED if durable else Way.LOST, books.now()
        if sink is None:
            books.move(uids, way, reason=f"{stage}/stage_error")
        else:
            books.end(sink, uids, way, reason="dead letter")
        return durable

    async def _dig(self, sink: int | None) -> None:
        """Dead letters take their time."""
        if sink is not None:
            self.drains[sink].referee.buries(+1)
        try:
            if self.bury_s:
                await asyncio.sleep(self.random.random() * self.bury_s)
        finally:
            if sink is not None:
                self.drains[sink].referee.buries(-1)

    def over(self) -> bool:
        """Whether nothing more is read."""
        stopped_at = self.books.stopped_at + self.plan.settings.stop_s
        return all(s.over for s in self.springs) or self.books.now() >= stopped_at

    def reborn(self) -> None:
        """A new process in a world without faults."""
        self.books.reborn()
        for part in self.parts:
            part.mood = Mood(part.mood.random)
        for stage in self.windows:
            stage.panes.clear()
        for asking in self.askings:
            asking.until.clear()
        for drain in self.drains:
            drain.reborn()
        for spring in self.springs:
            spring.again()

    def _passed(self, batch: Batch) -> None:
        """Rows came to the end of the trunk."""
        uids: Uids = batch["uid"]
        books = self.books
        if (books.at[uids] != len(self.parts)).any():
            books.fault("each row meets each stage in turn", "not all of them")
        idle = [not n for n in books.outstanding]
        books.passed(uids, batch.size / batch.rows)
        urgent = bool((books.severity[uids] >= ERROR).any())
        for at, drain in enumerate(self.drains):
            wanted = uids[books.ways[at, uids] == Way.OPEN]
            hot = urgent and bool((books.severity[wanted] >= ERROR).any())
            drain.referee.passed(wanted, hot, idle[at])

    def _source(self, label: str) -> Flows:
        random, script = self.random, draw.script(self.random)
        replays = random.random() < 0.5
        spring = Spring(
            label,
            self.books,
            random,
            replays=replays,
            endless=random.random() < 0.3,
            heeds=random.random() < 0.8,
            breaks_at=random.uniform(0, 3) if random.random() < 0.02 else draw.NEVER,
            above_soft=self.pressed,
            deaf=random.random() < 0.01,
        )
        spring.todo.extend(script)
        self.springs.append(spring)
        return (Replays if replays else Flows)(spring, name=label)

    def _stages(self, count: int) -> Iterator[Any]:
        kinds = [self.random.choice(STAGES) for _ in range(count)]
        for at, kind in enumerate(kinds):
            samplers = [n for n in range(at, count) if kinds[n] is Thin]
            behind = max(samplers, default=at) + 1
            part = Part(f"t{at}", at, behind, self.books, draw.mood(self.random))
            self.parts.append(part)
            yield self._stage(kind, part)

    def _stage(self, kind: Any, part: Part) -> Any:
        random, label = self.random, part.label
        if kind is Sieve:
            return Sieve(part, random.choice([1, 2, 3, 7]), name=label)
        if kind is Thin:
            return Thin(part, random.uniform(0.1, 0.9), name=label)
        if kind is Label:
            return Label(part, name=label)
        if kind is Ask:
            self.askings.append(Asking(part, np.array(draw.known_at(random)), self.over))
            return Ask(self.askings[-1], name=label)
        hold_s, rows = random.choice([0.02, 0.2, 1.0]), random.choice([1, 10, 100])
        self.windows.append(kind(part, hold_s, rows, name=label))
        return self.windows[-1]

    def _sink(self, at: int, ids: dict[str, tuple[int, int, bytes]]) -> Takes:
        random, options = self.random, draw.sink(self.random)
        when, wants = draw.condition(random)
        if at == 0:
            when = Seen(inner=when, tell=self._passed, all=())
        bounds, label = options["channel"], f"k{at}"
        drops = options["on_full"].startswith("drop")
        self.books.sinks.append(SinkTerms(label, wants, drops, bounds.rows, bounds.bytes))
        model = Model(options["breaker"])
        kept = ("retry", "rate", "concurrency", "max_rows", "max_bytes", "max_age_s")
        limits = {name: options[name] for name in kept}
        referee = Referee(at, label, self.books, model, ids, **limits)
        most = random.choice([3, 20, 10_000, 10_000])
        spells, after_s, hides = draw.spells(random), random.random(), random.random() < 0.1
        drain = Drain(at, self.books, random, spells, most, referee, after_s, hides)
        self.drains.append(drain)
        return Takes(drain, name=label, when=when, **options)
