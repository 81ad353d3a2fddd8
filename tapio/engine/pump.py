"""``Segment``: a run of trunk cells in one task; ``Reader``: one source's reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence

from tapio.engine.cells import Cell, Dead, Instant, Morgue
from tapio.engine.channel import BREATH, Channel, latest
from tapio.engine.parcel import Leftover, Parcel, leftover
from tapio.model.batch import Batch
from tapio.model.errors import EndOfStream

Forward = Callable[[Parcel], list[asyncio.Future[None]]]
"""Hand a parcel on, now; the futures to wait for where that was beyond somebody's bounds."""


class Segment:
    """Takes parcels from ``inbox`` through ``cells`` and hands them on.

    ``first`` is the trunk index of the first cell. Between two awaits a parcel is in the
    inbox, in a cell, in ``hands`` or handed on, so that looking finds it.
    """

    def __init__(
        self, cells: Sequence[Cell], first: int, inbox: Channel, forward: Forward, morgue: Morgue
    ) -> None:
        self.cells = cells
        self.inbox = inbox
        self.hands: deque[Parcel] = deque()
        self._first = first
        self._end = first + len(cells)
        self._forward = forward
        self.morgue = morgue

    async def run(
        self,
        now: Callable[[], Instant],
        bury: Callable[[Dead], Awaitable[None]],
        close: Callable[[], None],
    ) -> None:
        """Work until the inbox ends; then drain the cells, hand all on, and ``close`` the next.

        Raises the StageFailure of a stage that failed ten times in a row (rule 21).
        """
        turns = 0
        while True:
            turns += 1
            if turns % BREATH == 0:
                await asyncio.sleep(0)
            due = self._due()
            try:
                parcel = await self.inbox.get(due)
            except EndOfStream:
                break
            moment = now()
            if parcel is None:
                moment = moment._replace(s=latest(moment.s, due))
            else:
                self._advance(parcel, moment)
            self._tick(moment)
            await self._hand_on(bury)
        self._drain(now())
        await self._hand_on(bury)
        close()

    def held(self) -> Iterator[tuple[str, int]]:
        """(source, rows) of all that is in the segment."""
        yield from self.inbox.held()
        for parcel in self.hands:
            yield parcel.source, parcel.rows
        yield from self.morgue.held()
        for cell in self.cells:
            yield from cell.held()

    def batches(self) -> Iterator[Batch]:
        """The batches in the segment."""
        yield from self.inbox.batches()
        for parcel in self.hands:
            yield parcel.batch
        yield from self.morgue.batches()
        for cell in self.cells:
            yield from cell.batches()

    def sweep(self) -> Iterator[Leftover]:
        """Give up all that is in the segment."""
        yield from self.inbox.sweep()
        hands, self.hands = self.hands, deque()
        yield from map(leftover, hands)
        yield from self.morgue.sweep()
        for cell in self.cells:
            yield from cell.sweep()

    def _due(self) -> float | None:
        return min((d for c in self.cells if (d := c.due()) is not None), default=None)

    def _advance(self, parcel: Parcel, now: Instant) -> None:
        """Take ``parcel`` as far as it gets; what comes out waits in ``hands``."""
        todo = [parcel]
        while todo:
            parcel = todo.pop()
            if parcel.at >= self._end:
                self.hands.append(parcel)
                continue
            cell = self.cells[parcel.at - self._first]
            parcel.at += 1
            todo += reversed(cell.push(parcel, now))

    def _tick(self, now: Instant) -> None:
        for cell in self.cells:
            due = cell.due()
            if due is not None and due <= now.s:
                for parcel in cell.tick(now):
                    self._advance(parcel, now)

    def _drain(self, now: Instant) -> None:
        for cell in self.cells:
            for parcel in cell.drain(now):
                self._advance(parcel, now)

    async def _hand_on(self, bury: Callable[[Dead], Awaitable[None]]) -> None:
        while self.morgue.dead:
            await bury(self.morgue.dead[0])
        if self.morgue.failure is not None:
            raise self.morgue.failure
        while self.hands:
            rooms = self._forward(self.hands[0])
            self.hands.popleft()
            for room in rooms:
                await room
