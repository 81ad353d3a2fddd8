"""Both ends of a simulated pipeline: sources with their tickets, sinks with their faults."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

import msgspec
import numpy as np

from tapio.model.batch import Batch
from tapio.model.errors import EndOfStream, PartlyRejected, Rejected, Retryable
from tapio.model.stage import Context, Delivery, Read, Sink, Source, Write
from tapio.model.ticket import Outcome, Ticket
from tapio.model.when import When
from tests.sim.books import Books, Handed, Uids, Way
from tests.sim.referee import Referee
from tests.sim.stages import Failed, rows_of

LONG_S = 1e4
"""How long a source without end waits for rows that do not come."""


@dataclass(slots=True)
class Drops:
    """Rows that a source is to give: as many, of a topic, with these keys and severities."""

    topic: int
    keys: list[int]
    severities: list[int]


@dataclass(slots=True, eq=False)
class Spring:
    """A simulated source: what it will give, and what it was told of it."""

    label: str
    books: Books
    random: Random
    replays: bool
    endless: bool
    heeds: bool
    """Whether it finishes when it is asked to stop."""
    breaks_at: float
    above_soft: Callable[[], bool]
    todo: deque[Drops | float | Handed] = field(default_factory=deque)
    opened: bool = False
    broke: bool = False
    over: bool = False
    """Whether it is not read any more."""
    deaf: bool = False
    """Whether it once fails to hear how a delivery ended."""
    failed: bool = False
    stop_s: float = 0.0
    ended_at: float = 0.0
    """When its last read ended."""

    def next(self, cx: Context) -> Delivery | float | None:
        """The next delivery, or a pause, or None at the end."""
        if self.books.now() >= self.breaks_at:
            self.broke = True
            raise Failed(self.label)
        stopped = cx.stopping.is_set() and self.heeds
        if not self.todo or (stopped and self.random.random() < 0.7):
            return None if stopped or not self.endless else LONG_S
        what = self.todo.popleft()
        if isinstance(what, float):
            return what
        return self.give(what, cx)

    def give(self, what: Drops | Handed, cx: Context) -> Delivery:
        """Hand out rows, new ones or those of a delivery that was not acknowledged."""
        books = self.books
        if isinstance(what, Handed):
            old = what.uids
            topic, rows, seq = int(books.topic[old[0]]), len(old), books.seq[old]
            key, severity = books.key[old], books.severity[old]
        else:
            topic, rows = what.topic, len(what.keys)
            first = cx.sequences.take(str(topic), rows)
            seq, key = np.arange(first, first + rows), np.array(what.keys)
            severity = np.array(what.severities, np.uint8)
        uids = books.take(
            books.name(self.label), topic, rows,
            replays=self.replays, key=key, seq=seq, severity=severity,
        )  # fmt: skip
        handed = Handed(uids, books.life)
        books.handed.append(handed)
        return Delivery(rows_of(books, uids, topic), Ticket(lambda o: self.settled(handed, o)))

    def settled(self, handed: Handed, outcome: Outcome) -> None:
        """Hear how a delivery ended."""
        self.books.settle(handed, outcome)
        if not self.opened and not self.books.closed:
            self.books.fault("rule 20", f"{self.label}: a ticket settled after its source closed")
        if self.deaf and not self.failed and self.random.random() < 0.2:
            self.failed = True
            raise LookupError(self.label)

    def note_end(self) -> None:
        """A read ended: in time, where a stop was asked for."""
        self.ended_at = self.books.now()
        if self.ended_at > self.books.stopped_at + self.stop_s + 0.001:
            self.books.fault("rule 20: stop_s", f"{self.label} was still read")

    def again(self) -> None:
        """A new process: what was never acknowledged comes again, then the rest."""
        self.endless, self.breaks_at = False, float("inf")
        self.broke = self.over = self.deaf = self.failed = False
        if not self.replays:
            return
        mine = [h for h in self.books.handed if self.mine(h)]
        owed = [h for h in mine if h.outcome is not Outcome.DONE and not h.replayed]
        for handed in owed:
            handed.replayed = True
        self.todo.extendleft(reversed(owed))

    def mine(self, handed: Handed) -> bool:
        """Whether this source handed it out."""
        source = int(self.books.source[handed.uids[0]])
        return self.books.sources[source] == self.label


class Flows(Source, frozen=True, tag="flows"):
    """A source that gives what its ``spring`` does."""

    spring: Spring

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """Reads are told to the spring."""
        spring = self.spring
        spring.opened = True

        async def read() -> Delivery:
            if spring.above_soft() and not cx.stopping.is_set():
                spring.books.fault("rule 19: soft", f"{spring.label} was read above the limit")
            try:
                while not isinstance(given := spring.next(cx), Delivery):
                    if given is None:
                        raise EndOfStream
                    await _pause(given, cx, heeds=spring.heeds)
            except BaseException:
                spring.over = True
                raise
            finally:
                spring.note_end()
            return given

        try:
            yield read
        finally:
            spring.opened = False


class Replays(Flows, frozen=True, tag="replays"):
    """The same, replayable."""

    replayable: ClassVar[bool] = True


async def _pause(seconds: float, cx: Context, *, heeds: bool) -> None:
    """Wait; a source that heeds a stop is woken by it."""
    try:
        async with asyncio.timeout(seconds):
            if heeds and not cx.stopping.is_set():
                await cx.stopping.wait()
            else:
                await asyncio.sleep(seconds)
    except TimeoutError:
        return


class Nonsense(PartlyRejected):
    """An answer that makes no sense: a mask of too few rows."""


class Quits(asyncio.CancelledError):
    """What a sink raises that waited for a future which another one cancelled."""


@dataclass(frozen=True, slots=True)
class Spell:
    """How a sink behaves up to a time: the share of each answer, and how long it takes."""

    until: float
    shares: dict[str, float]
    takes_s: float


@dataclass(slots=True, eq=False)
class Drain:
    """A simulated sink: how it behaves, and what it was given."""

    index: int
    books: Books
    random: Random
    spells: list[Spell]
    most_rows: int
    """A larger batch is too large."""
    referee: Referee
    after_s: float
    hides: bool
    """Whether it turns its cancellation into an error of its own."""
    opened: bool = False
    last_answer: float = 0.0
    run: int = 0
    worst: int = 0

    async def write(self, batch: Batch) -> None:
        """Look at ``batch``, take some time, and answer."""
        uids: Uids = batch["uid"]
        probe = self.referee.begin(batch)
        if not self.opened:
            self.books.fault("rule 20", f"{self.referee.label} was written to after it closed")
        try:
            await self._take_time()
            self._answer(batch, uids)
        except BaseException as error:
            silent = isinstance(error, Nonsense)
            self.referee.end(batch, None if silent else error, probe, silent=silent)
            self._note(error)
            raise
        self.referee.end(batch, None, probe)
        self._note(None)
        self.books.end(self.index, uids, Way.DELIVERED)

    def spell(self) -> Spell:
        """How it behaves now."""
        now = self.books.now()
        return next((s for s in self.spells if now < s.until), self.spells[-1])

    async def _take_time(self) -> None:
        longest = self.spell().takes_s
        if not longest or self.random.random() > 0.7:
            return
        try:
            await asyncio.sleep(self.random.random() * longest)
        except asyncio.CancelledError:
            if self.hides:
                raise Retryable("interrupted") from None
            raise

    def _answer(self, batch: Batch, uids: Uids) -> None:
        """Take the batch, or raise what the spell has in store."""
        if batch.rows > self.most_rows:
            raise self._too_large(uids)
        shares = self.spell().shares
        draw = self.random.random()
        for answer, share in shares.items():
            draw -= share
            if draw < 0:
                raise getattr(self, f"_{answer}")(uids)

    def _too_large(self, uids: Uids) -> Exception:
        if len(uids) == 1:
            self.books.doomed[1 + self.index, uids] = True
        self.books.sealed[self.index, uids] = 0  # halves get ids of their own
        return Retryable("413", too_large=True)

    def _busy(self, uids: Uids) -> Exception:
        return Retryable("503", after_s=self.random.random() * self.after_s)

    def _down(self, uids: Uids) -> Exception:
        return Retryable("refused")

    def _rejects(self, uids: Uids) -> Exception:
        self.books.doomed[1 + self.index, uids] = True
        return Rejected("400")

    def _masks(self, uids: Uids) -> Exception:
        mask = np.array([self.random.random() < 0.4 for _ in uids])
        self.books.doomed[1 + self.index, uids[mask]] = True
        self.books.end(self.index, uids[~mask], Way.DELIVERED)
        return PartlyRejected("some", mask=mask)

    def _counts(self, uids: Uids) -> Exception:
        count = self.random.randint(0, len(uids))
        self.books.refuse(self.index, uids, count)
        return PartlyRejected("some", count=count)

    def _breaks(self, uids: Uids) -> Exception:
        self.books.doomed[1 + self.index, uids] = True
        return Failed("sink")

    def _nonsense(self, uids: Uids) -> Exception:
        self.books.doomed[1 + self.index, uids] = True
        return Nonsense("what?", mask=np.ones(len(uids) // 2, bool))

    def _quits(self, uids: Uids) -> BaseException:
        self.books.doomed[1 + self.index, uids] = True
        return Quits()

    def _closes(self, uids: Uids) -> Exception:
        self.books.end(self.index, uids, Way.CLOSED)
        self.books.stop()
        return EndOfStream()

    def reborn(self) -> None:
        """A new process, and the sink does well from now on."""
        self.spells = [Spell(float("inf"), {}, 0.0)]
        self.run = self.worst = 0
        self.referee.reborn()

    def _note(self, error: BaseException | None) -> None:
        if not isinstance(error, asyncio.CancelledError | Retryable):
            self.last_answer = self.books.now()
        if isinstance(error, Failed | Nonsense | Quits):
            self.run += 1
            self.worst = max(self.run, self.worst)
        elif not isinstance(error, asyncio.CancelledError | EndOfStream):
            self.run = 0


class Takes(Sink, frozen=True, tag="takes"):
    """A sink that does what its ``drain`` does."""

    drain: Drain

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Write]:
        """Writes go to the drain."""
        self.drain.opened = True
        try:
            yield self.drain.write
        finally:
            self.drain.opened = False


class Seen(When, frozen=True):
    """A condition that tells the books which rows come to the end of the trunk."""

    inner: When = When(all=())
    tell: Callable[[Batch], None] = msgspec.field(default=lambda batch: None)

    def mask(self, batch: Batch) -> Any:
        """What ``inner`` says."""
        self.tell(batch)
        return self.inner.mask(batch)
