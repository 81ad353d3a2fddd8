"""``Channel``: a queue between two tasks, bounded in rows and bytes (rule 14).

Items change hands synchronously: a parcel is always in the channel or with its taker, never
inside a pending await, so looking between awaits finds each row exactly once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from tapio.engine.parcel import Leftover, Parcel, leftover
from tapio.model.batch import Batch
from tapio.model.errors import EndOfStream
from tapio.model.policy import Bounds, OnFull
from tapio.model.schema import ERROR

BREATH = 8
"""Batches between two yields to the loop where nothing has to be waited for: about 1 ms of
work, so that other tasks keep their deadlines."""


class Channel:
    """First in, first out; one taker at a time. ``drop`` is told of each parcel it gives up."""

    def __init__(
        self,
        bounds: Bounds,
        on_full: OnFull = "block",
        drop: Callable[[Parcel, str], None] | None = None,
    ) -> None:
        self.bounds = bounds
        self.on_full = on_full
        self.rows = 0
        self.size = 0
        self._drop = drop
        self._items: deque[Parcel] = deque()
        self._offers: deque[tuple[Parcel, asyncio.Future[None]]] = deque()
        self._taker: asyncio.Future[bool] | None = None
        self._closed = False

    @property
    def fill(self) -> float:
        """The share of its bounds that is used, the larger of the two."""
        return max(self.rows / self.bounds.rows, self.size / self.bounds.bytes)

    def offer(self, parcel: Parcel) -> asyncio.Future[None] | None:
        """Hand ``parcel`` over, now.

        The channel has it from here on. Where it is full and blocks, the future returned is
        done once there is room; cancelling that wait leaves the parcel in the channel's care.
        """
        if not self._offers and self._fits(parcel):
            self._append(parcel)
            return None
        if self.on_full == "block":
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._offers.append((parcel, room))
            return room
        kept = self._make_room(parcel)
        if kept is not None:
            self._append(kept)
        return None

    async def get(self, until: float | None = None) -> Parcel | None:
        """The oldest parcel; None when the loop's time reaches ``until`` first.

        Raises EndOfStream once it is closed and empty. Cancelling it takes nothing.
        """
        while not self._items:
            if self._closed:
                raise EndOfStream
            if not await self._arrival(until):
                return None
        parcel = self._items.popleft()
        self._uncount(parcel)
        self._admit()
        return parcel

    def close(self) -> None:
        """Say that nothing more will be offered; what is in it can still be taken."""
        self._closed = True
        self._wake()

    def shed(self, choose: Callable[[Parcel], bool], reason: str) -> None:
        """Drop the parcels that ``choose`` names, also those that wait for room."""
        items, self._items = self._items, deque()
        for parcel in items:
            if choose(parcel):
                self._uncount(parcel)
                self._give_up(parcel, reason)
            else:
                self._items.append(parcel)
        offers, self._offers = self._offers, deque()
        for parcel, room in offers:
            if choose(parcel):
                self._give_up(parcel, reason)
                _let_go(room)
            else:
                self._offers.append((parcel, room))
        self._admit()

    def parcels(self) -> Iterator[Parcel]:
        """All that is in it: what was taken in, then what still waits for room."""
        yield from self._items
        for parcel, _ in self._offers:
            yield parcel

    def held(self) -> Iterator[tuple[str, int]]:
        """(source, rows) of each parcel in it."""
        for parcel in self.parcels():
            yield parcel.source, parcel.rows

    def batches(self) -> Iterator[Batch]:
        """The batches in it."""
        for parcel in self.parcels():
            yield parcel.batch

    def sweep(self) -> Iterator[Leftover]:
        """Give up all that is in it."""
        parcels = list(self.parcels())
        self._items.clear()
        self._offers.clear()
        self.rows = self.size = 0
        yield from map(leftover, parcels)

    def _fits(self, parcel: Parcel) -> bool:
        """Whether there is room; an empty channel takes even what is larger than its bounds."""
        if not self._items:
            return True
        rows, size = self.rows + parcel.rows, self.size + parcel.batch.size
        return rows <= self.bounds.rows and size <= self.bounds.bytes

    def _append(self, parcel: Parcel) -> None:
        self._items.append(parcel)
        self.rows += parcel.rows
        self.size += parcel.batch.size
        self._wake()

    def _uncount(self, parcel: Parcel) -> None:
        self.rows -= parcel.rows
        self.size -= parcel.batch.size

    def _admit(self) -> None:
        """Take in what waits, in order, as far as there is room."""
        while self._offers and self._fits(self._offers[0][0]):
            parcel, room = self._offers.popleft()
            self._append(parcel)
            _let_go(room)

    def _make_room(self, parcel: Parcel) -> Parcel | None:
        """Drop until ``parcel`` fits, rows of severity ≥ error last; what is left of it."""
        if self.on_full == "drop_oldest":
            self._evict(parcel, keep_urgent=True)
        rest: Parcel | None = parcel
        if not self._fits(parcel):
            calm, rest = parcel.divide(parcel.batch["severity"] < ERROR)
            if calm is not None:
                self._give_up(calm, self.on_full)
        if rest is not None:
            self._evict(rest, keep_urgent=True)
            self._evict(rest, keep_urgent=False)
        return rest

    def _evict(self, newcomer: Parcel, *, keep_urgent: bool) -> None:
        """Drop from the oldest on until ``newcomer`` fits; with ``keep_urgent``, calm rows only."""
        kept: list[Parcel] = []
        while self._items and not self._fits(newcomer):
            oldest = self._items.popleft()
            self._uncount(oldest)
            calm: Parcel | None = oldest
            if keep_urgent and oldest.urgent:
                calm, saved = oldest.divide(oldest.batch["severity"] < ERROR)
                if saved is not None:
                    kept.append(saved)
                    self.rows += saved.rows
                    self.size += saved.batch.size
            if calm is not None:
                self._give_up(calm, self.on_full)
        self._items.extendleft(reversed(kept))

    def _give_up(self, parcel: Parcel, reason: str) -> None:
        assert self._drop is not None, "a channel that drops must have somebody to tell"
        self._drop(parcel, reason)

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(True)

    async def _arrival(self, until: float | None) -> bool:
        """Wait for an item or the end; False at ``until``."""
        loop = asyncio.get_running_loop()
        if until is not None and until <= loop.time():
            return False
        assert self._taker is None, "a channel has one taker at a time"
        self._taker = taker = loop.create_future()
        timer = None if until is None else loop.call_at(until, _time_out, taker)
        try:
            return bool(await taker)
        finally:
            self._taker = None
            if timer is not None:
                timer.cancel()


def latest(now: float, until: float | None) -> float:
    """The time for what was due at ``until``, when ``get`` has returned for it.

    A timer rings up to half a millisecond early on uvloop; asking again until the clock says
    so too would keep a processor busy.
    """
    return now if until is None else max(now, until)


def _let_go(room: asyncio.Future[None]) -> None:
    """Whoever waits for ``room`` may go on; it may have been cancelled."""
    if not room.done():
        room.set_result(None)


def _time_out(taker: asyncio.Future[bool]) -> None:
    if not taker.done():
        taker.set_result(False)
