"""What stands on the trunk of a simulated pipeline; each tells the books what it does.

A stage fails as its ``Mood`` says: now and then, or for ever from some time on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

import msgspec
import numpy as np

from tapio.model.batch import Batch
from tapio.model.columns import Column
from tapio.model.entities import EntityTable
from tapio.model.policy import Parking
from tapio.model.schema import ENTITY, ERROR, INFO, WEIGHT, Field, Schema
from tapio.model.stage import (
    Batching,
    Context,
    Enrich,
    Later,
    Lookup,
    Sample,
    Stateful,
    Step,
    Transform,
    Window,
)
from tests.sim.books import Books, Uids, Way

UID = Field("uid", "int64")
KEY = Field("key", "int64")
TOPICS = (
    Schema.of("sim.plain", UID, KEY),
    Schema.of("sim.other", UID, KEY),
    Schema.of("sim.made", UID, KEY),
)


def rows_of(books: Books, uids: Uids, topic: int) -> Batch:
    """The batch that carries the rows ``uids`` of the books."""
    columns: dict[str, Column] = {
        "time_ns": np.full(len(uids), int(books.now() * 1e9)),
        "seq": books.seq[uids].astype(np.uint64),
        "severity": books.severity[uids],
        "uid": uids,
        "key": books.key[uids],
    }
    return Batch(TOPICS[topic], columns)


class Failed(Exception):
    """What stages and sinks raise that do not behave."""


@dataclass(slots=True)
class Mood:
    """How a stage fails, and how often in a row it has (rule 21)."""

    random: Random
    share: float = 0.0
    for_ever_from: float = float("inf")
    run: int = 0
    worst: int = 0

    def fails(self, now: float) -> bool:
        """Whether it fails this time."""
        failed = now >= self.for_ever_from or self.random.random() < self.share
        self.run = self.run + 1 if failed else 0
        self.worst = max(self.worst, self.run)
        return failed


@dataclass(slots=True, eq=False)
class Part:
    """What a stage of a simulated trunk has: its label, its mood, and whom to tell."""

    label: str
    index: int
    """Where on the trunk it stands."""
    behind_samplers: int
    """The place behind the last sampler after it, where a Tap's rows enter."""
    books: Books
    mood: Mood

    def try_on(self, batch: Batch) -> Uids:
        """The rows of ``batch``; raises where the stage is to fail on them."""
        uids: Uids = batch["uid"]
        if (self.books.at[uids] != self.index).any():
            self.books.fault("each row meets each stage in turn", self.label)
        if self.mood.fails(self.books.now()):
            self.books.doomed[0, uids] = True
            raise Failed(self.label)
        return uids


class Sieve(Step, frozen=True, tag="sieve"):
    """Filters rows out by their key, some batches wholly; or breaks its contract."""

    part: Part
    modulus: int
    way: int = Way.FILTERED

    def start(self, cx: Context) -> Transform:
        """A function."""

        def sift(batch: Batch) -> Batch:
            try:
                uids = self.part.try_on(batch)
            except Failed:
                if self.part.mood.random.random() < 0.3:
                    return Batch.concat([batch, batch])  # which its contract forbids
                raise
            keep = batch["key"] % self.modulus != 0
            self.part.books.move(uids[~keep], self.way)
            self.part.books.at[uids] += 1
            return batch.where(keep)

        return sift


class Thin(Sample, frozen=True, tag="thin"):
    """Samples rows at random, with weights."""

    part: Part
    share: float

    def start(self, cx: Context) -> Stateful:
        """A sampler with a memory: its random numbers."""
        return Thinning(self.part, self.share)


@dataclass(slots=True, eq=False)
class Thinning:
    """Keeps a share of the rows, and all of severity ≥ error."""

    part: Part
    share: float

    def step(self, batch: Batch, now_ns: int) -> Batch:
        """Keep some."""
        uids = self.part.try_on(batch)
        draws = np.array([self.part.mood.random.random() for _ in range(batch.rows)])
        keep = (draws < self.share) | (batch["severity"] >= ERROR)
        books = self.part.books
        books.move(uids[~keep], Way.SAMPLED)
        books.weight[uids] /= self.share
        books.at[uids] += 1
        return batch.where(keep).with_columns({WEIGHT: batch.weights[keep] / self.share})


class Label(Enrich, frozen=True, tag="label"):
    """Gives rows an entity, from a table that is now and then followed by its successor."""

    part: Part

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Transform]:
        """A function over tables."""
        table = _table()

        def label(batch: Batch) -> Batch:
            nonlocal table
            self.part.books.at[self.part.try_on(batch)] += 1
            if self.part.mood.random.random() < 0.2:
                table = table.successor()
            return batch.with_columns({ENTITY: (batch["key"] % 3).astype(np.int32)}, table)

        yield label


def _table() -> EntityTable:
    table = EntityTable()
    for n in range(3):
        table.add(n, {"name": str(n)})
    return table


@dataclass(slots=True, eq=False)
class Asking:
    """Looks rows up by their key, each known from some time on, or never."""

    part: Part
    known_at: Any
    over: Callable[[], bool]
    policy: Parking = field(default_factory=Parking)
    until: dict[int, float] = field(default_factory=dict)
    """The rows that are parked, and when they must be passed at the latest."""

    def look(self, batch: Batch, *, final: bool) -> Batch | Later:
        """Resolve what is known; the others wait, in time and in number as is the policy."""
        now = self.part.books.now()
        due = [self.until.pop(int(u), now + self.policy.age_s) for u in batch["uid"]]
        self._judge(min(due), len(due), now, final=final)
        try:
            uids = self.part.try_on(batch)
        except Failed:
            if self.part.mood.random.random() < 0.3:
                return Later(batch, np.ones(batch.rows + 1, bool))  # its contract forbids that
            raise
        waits = self.known_at[batch["key"] % len(self.known_at)] > now
        self.part.books.at[uids[~waits | final]] += 1
        if final or not waits.any():
            return Later(batch, waits) if self.part.mood.random.random() < 0.05 else batch
        self.part.books.parked[uids[waits]] = True
        self.until |= {int(uids[i]): due[i] for i in np.flatnonzero(waits)}
        return Later(batch, waits)

    def look_at_room(self) -> None:
        """Between two awaits no more is parked than may be."""
        if len(self.until) > self.policy.rows:
            self.part.books.fault("parked rows are bounded", f"{len(self.until)} are parked")

    def _judge(self, due: float, rows: int, now: float, *, final: bool) -> None:
        """Rows are asked for again until they are too old, too many, or the last."""
        if not final and now > due + 1e-4:
            self.part.books.fault("parked rows expire", f"{now - due:.3f} s too late")
        full = len(self.until) + rows > self.policy.rows
        early = due - now > 0.05 + 1e-4  # neighbours that expire within a tick go together
        if final and early and not full and not self.over():
            self.part.books.fault("parked rows wait", f"passed {due - now:.3f} s too early")


class Ask(Enrich, frozen=True, tag="ask"):
    """A lookup that may say Later."""

    asking: Asking

    @property
    def part(self) -> Part:
        """As every stage has it."""
        return self.asking.part

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Lookup]:
        """The lookup."""
        yield self.asking


@dataclass(slots=True, eq=False)
class Pane:
    """The state of one simulated Window: what it was given and has not flushed."""

    part: Part
    hold_s: float
    rows: int
    got: list[Batch] = field(default_factory=list)
    dead: bool = False

    def held(self) -> int:
        """Rows not yet flushed."""
        return sum(b.rows for b in self.got)

    def batches(self) -> list[Batch]:
        """For the memory account."""
        return self.got

    def uids(self) -> Uids:
        """The rows not yet flushed."""
        return _uids(self.got)

    def push(self, batch: Batch, now_ns: int) -> bool:
        """Take a batch; or fail, and lose what there is."""
        books = self.part.books
        if self.dead:
            books.fault("rule 21", f"{self.part.label}: a Window was used after it had failed")
        uids: Uids = batch["uid"]
        if (books.at[uids] != self.part.index).any():
            books.fault("each row meets each stage in turn", self.part.label)
        books.at[uids] += 1
        if len(np.unique(books.source[np.concatenate([uids, self.uids()])])) > 1:
            books.fault("rule 10", f"{self.part.label}: a Window was given two sources")
        if self.part.mood.fails(books.now()):
            books.doomed[0, uids] = True
            self.lose(self.got)
            raise Failed(self.part.label)
        self.got.append(batch)
        return self.held() >= self.rows

    def take(self) -> list[Batch]:
        """What is to be flushed; or fail, and lose it, or keep some of it back."""
        got, self.got = self.got, []
        if not self.part.mood.fails(self.part.books.now()):
            return got
        self.lose(got)
        if hasattr(self, "emits") or self.part.mood.random.random() < 0.7:
            raise Failed(self.part.label)
        self.got = got[-1:]
        return got[:-1]

    def lose(self, batches: list[Batch]) -> None:
        """Give up what was held: the engine has to count it."""
        reason = f"{self.part.label}/stage_error"
        if not hasattr(self, "emits"):
            self.part.books.move(_uids(batches), Way.LOST, reason=reason)
        self.got, self.dead = [], True


def _uids(batches: Iterable[Batch]) -> Uids:
    return np.concatenate([np.zeros(0, np.int64), *(b["uid"] for b in batches)])


class Regroup(Pane):
    """Gives the very rows again, in batches of another size, now and then an empty one."""

    def flush(self, now_ns: int) -> Iterator[Batch]:
        """The rows, joined where they can be, cut anew."""
        for joined in _joined(self.take()):
            size = self.part.mood.random.randint(1, 2 * self.rows)
            for start in range(0, joined.rows, size):
                yield joined.slice(start, size)
            if self.part.mood.random.random() < 0.1:
                yield joined.slice(0, 0)


def _joined(batches: Iterable[Batch]) -> Iterator[Batch]:
    pile: list[Batch] = []
    for batch in batches:
        same = pile and pile[0].schema == batch.schema and pile[0].entities is batch.entities
        if pile and not same:
            yield Batch.concat(pile)
            pile = []
        pile.append(batch)
    if pile:
        yield Batch.concat(pile)


class Replace(Pane):
    """Gives other rows for those it was given, perhaps none."""

    def flush(self, now_ns: int) -> Iterable[Batch]:
        """Some rows of its own."""
        uids = self.uids()
        self.take()
        if self.dead:
            return []
        replays = bool(self.part.books.replays[uids].any())
        behind = self.part.index + 1
        made = [_make(self, self.part.label, behind, replays) for _ in range(len(uids) % 3)]
        self.part.books.absorb(uids, [m["uid"] for m in made])
        return made


class Tapping(Pane):
    """Lets rows pass; what it gives is a source of its own."""

    @property
    def emits(self) -> str:
        """The name of that source."""
        return f"{self.part.label}-sums"

    def flush(self, now_ns: int) -> Iterable[Batch]:
        """A few rows."""
        self.take()
        return [_make(self, self.emits, self.part.behind_samplers, replays=False)]


def _make(pane: Pane, source: str, behind: int, replays: bool) -> Batch:
    """A batch of a stage's own rows, which enter the trunk at ``behind``."""
    books, random = pane.part.books, pane.part.mood.random
    rows, severity = random.randint(1, 4), ERROR if random.random() < 0.05 else INFO
    index = books.name(source)
    key = np.arange(rows)
    uids = books.take(index, 2, rows, replays=replays, key=key, seq=key, severity=severity)
    books.at[uids] = behind
    return rows_of(books, uids, 2)


class Windows(Batching, frozen=True, tag="window"):
    """A stage of simulated Windows; ``panes`` are all that were started."""

    part: Part
    hold_s: float
    rows: int
    panes: list[Pane] = msgspec.field(default_factory=list)
    pane: ClassVar[type[Pane]]

    def start(self, cx: Context) -> Window:
        """One more."""
        self.panes.append(self.pane(self.part, self.hold_s, self.rows))
        return self.panes[-1]  # type: ignore[return-value]


class Gather(Windows, frozen=True, tag="gather"):
    """Regroups."""

    regroups: ClassVar[bool] = True
    pane: ClassVar[type[Pane]] = Regroup


class Fold(Windows, frozen=True, tag="fold"):
    """Replaces."""

    pane: ClassVar[type[Pane]] = Replace


class Watch(Windows, frozen=True, tag="watch"):
    """Taps."""

    pane: ClassVar[type[Pane]] = Tapping
