"""``Flow``: the parts of a running pipeline, and the moves that cross from one to another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from tapio.engine.branch import Branch, Bury
from tapio.engine.cells import Dead
from tapio.engine.channel import Channel
from tapio.engine.ledger import Ledger
from tapio.engine.parcel import Holder, Parcel
from tapio.engine.pump import Segment
from tapio.model.batch import Batch
from tapio.model.ticket import Outcome


class Flow:
    """Segments and branches with the ledger that they keep; filled while the plan opens."""

    def __init__(self, bury: Bury) -> None:
        self.ledger = Ledger()
        self.segments: list[Segment] = []
        self.branches: list[Branch] = []
        self.failures: list[Exception] = []
        self._bury = bury

    def dispatch(self, parcel: Parcel) -> list[asyncio.Future[None]]:
        """Hand a parcel from the trunk to the branches, in one synchronous move.

        Nothing has happened where a ``when`` fails.
        """
        choices = [(branch, branch.choose(parcel.batch)) for branch in self.branches]
        self.ledger.trunk[parcel.source].passed += parcel.rows
        for branch, batch in choices:
            account = self.ledger.branch[branch.label, parcel.source]
            account.passed += parcel.rows
            account.skipped += parcel.rows - batch.rows
        takers = [(branch, batch) for branch, batch in choices if batch.rows]
        if not takers:
            parcel.ticket.settle(Outcome.DONE)
            return []
        rooms = []
        for (branch, batch), ticket in zip(takers, parcel.ticket.fork(len(takers)), strict=True):
            room = branch.channel.offer(parcel.carry(batch, ticket))
            if room is not None:
                rooms.append(room)
        return rooms

    def check(self) -> None:
        """Raise what a source raised when it was told how a delivery ended: it ends the run."""
        if self.failures:
            raise self.failures[0]

    def burier(self, segment: Segment) -> Callable[[Dead], Awaitable[None]]:
        """What buries the parcels that a stage of ``segment`` failed on (rule 21)."""

        async def bury(dead: Dead) -> None:
            parcel, stage, reason = dead
            durable = await self._bury(parcel.batch, parcel.source, stage, reason)
            segment.morgue.dead.popleft()
            account = self.ledger.trunk[parcel.source]
            if durable:
                account.dead_lettered += parcel.rows
            else:
                account.dropped[f"{stage}/stage_error"] += parcel.rows
            parcel.ticket.settle(Outcome.DONE)

        return bury

    def closers(self) -> Iterator[Callable[[], None]]:
        """What each segment closes when it ends: the next one's inbox, the last the branches."""
        for segment in self.segments[1:]:
            yield segment.inbox.close
        yield self._close_branches

    def channels(self) -> Iterator[Channel]:
        """All channels."""
        for segment in self.segments:
            yield segment.inbox
        for branch in self.branches:
            yield branch.channel

    def trunk(self) -> Iterator[Holder]:
        """All that can hold rows before they are passed."""
        yield from self.segments

    def batches(self) -> Iterator[Batch]:
        """Every batch in the pipeline."""
        for segment in self.segments:
            yield from segment.batches()
        for branch in self.branches:
            yield from branch.batches()

    def shed(self, excess: int) -> None:
        """Drop ``excess`` bytes from channels, lowest severity first, nothing replayable (19)."""
        found = [p for c in self.channels() for p in c.parcels() if not p.replayable]
        chosen: set[int] = set()
        for parcel in sorted(found, key=lambda p: int(p.batch["severity"].max())):
            if excess <= 0:
                break
            excess -= parcel.batch.size
            chosen.add(id(parcel))
        for channel in self.channels():
            channel.shed(lambda p: id(p) in chosen, "memory")

    def sweep(self, reason: str) -> None:
        """End all that is still on its way: returned, or dropped for ``reason`` (rule 20)."""
        for segment in self.segments:
            for left in segment.sweep():
                self.ledger.trunk[left.source].give_back(left, f"trunk/{reason}")
        for branch in self.branches:
            for left in branch.sweep():
                self.ledger.branch[branch.label, left.source].give_back(left, reason)

    def _close_branches(self) -> None:
        for branch in self.branches:
            branch.channel.close()
