"""``Reader``: one source's reads, into the trunk's inbox."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from tapio.engine.cancel import Cut, cancelled
from tapio.engine.cells import StageFailure
from tapio.engine.channel import BREATH, Channel
from tapio.engine.ledger import Ledger
from tapio.engine.limits import MemoryGauge
from tapio.engine.parcel import Parcel, urgent
from tapio.model.errors import EndOfStream
from tapio.model.stage import Delivery, Read
from tapio.model.ticket import Outcome, Ticket

MEMORY_POLL_S = 0.01
"""How often a reader looks whether memory is below the soft limit again: a hundredth of the
latency that an event may have."""


@dataclass(slots=True)
class Way:
    """Where a reader's parcels go, and what it must heed."""

    inbox: Channel
    ledger: Ledger
    memory: MemoryGauge
    stopping: asyncio.Event
    failures: list[Exception]
    """What sources raised when they were told how a delivery ended."""


class Reader:
    """Reads until the source ends, or is ``cut`` (rule 20); what was taken is never lost."""

    def __init__(self, label: str, read: Read, way: Way, *, replayable: bool) -> None:
        self.label = label
        self._read = read
        self._way = way
        self._replayable = replayable
        self.cut = Cut()

    async def run(self) -> None:
        """Read. Ends at EndOfStream or, after a stop, at the time given to ``cut``."""
        await self.cut.run(self._read_all())

    async def _read_all(self) -> None:
        batches, loop = 0, asyncio.get_running_loop()
        while self.cut.when is None or loop.time() < self.cut.when:
            await self._memory()
            try:
                delivery = await self._read()
            except EndOfStream:
                return
            except asyncio.CancelledError:
                if cancelled():
                    raise
                raise StageFailure(f"source {self.label} was cancelled from inside") from None
            room = self._take(delivery)
            batches += 1
            if room is not None:
                await room
            elif batches % BREATH == 0:
                await asyncio.sleep(0)

    def _take(self, delivery: Delivery) -> asyncio.Future[None] | None:
        """Account for a delivery and hand it over, in one synchronous move."""
        batch, ticket = delivery
        if batch.rows == 0:
            ticket.settle(Outcome.DONE)
            return None
        self._way.ledger.trunk[self.label].taken += batch.rows
        self._way.memory.add(batch)
        told = Ticket(partial(self._tell, ticket))
        parcel = Parcel(batch, told, self.label, self._replayable, urgent(batch))
        return self._way.inbox.offer(parcel)

    def _tell(self, ticket: Ticket, outcome: Outcome) -> None:
        """Settle the source's ticket; an error there must not stop the move that led to it."""
        try:
            ticket.settle(outcome)
        except Exception as error:
            self._way.failures.append(error)

    async def _memory(self) -> None:
        """Wait while memory is above its soft limit (rule 19), unless a stop was asked for."""
        while self._way.memory.soft and not self._way.stopping.is_set():
            self._way.memory.look()
            if self._way.memory.soft:
                await asyncio.sleep(MEMORY_POLL_S)
