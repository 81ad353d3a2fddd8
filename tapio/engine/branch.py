"""``Branch``: one sink with its own channel, re-batching, retry, breaker and rate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from tapio.engine.breaker import Circuit
from tapio.engine.cancel import cancelled
from tapio.engine.cells import FAULTS_IN_A_ROW, StageFailure
from tapio.engine.channel import Channel, latest
from tapio.engine.latency import Latency
from tapio.engine.ledger import BranchAccount, Ledger
from tapio.engine.limits import Throttle
from tapio.engine.parcel import Leftover, Parcel, leftover, one_a_row
from tapio.engine.retry import wait_s
from tapio.engine.seal import Sealer
from tapio.model.batch import Batch
from tapio.model.errors import (
    ContractError,
    DeliveryError,
    EndOfStream,
    PartlyRejected,
    Rejected,
    Retryable,
)
from tapio.model.policy import OnFull
from tapio.model.stage import Clock, Sink, Write
from tapio.model.ticket import Outcome

Bury = Callable[[Batch, str, str, str], Awaitable[bool]]
"""(batch, source, stage, reason) → whether it is durable among the dead letters."""


@dataclass(slots=True)
class Desk:
    """What a branch needs of the pipeline around it."""

    ledger: Ledger
    clock: Clock
    bury: Bury
    random: Random
    new_id: Callable[[], str]
    finished: Callable[[], None]
    """The sink wants no more rows (its reader went away): the pipeline may stop."""
    progress: Callable[[], None]
    """The sink answered for rows: a drain gets on."""


@dataclass(slots=True)
class Said:
    """What a branch tells about its attempts."""

    retries: int = 0
    faults: int = 0
    last_error: str = ""
    latency: Latency = field(default_factory=Latency)


class Branch:
    """Takes parcels from the trunk's end to the sink; ``concurrency`` tasks run ``work``."""

    def __init__(self, label: str, spec: Sink, write: Write, on_full: OnFull, desk: Desk) -> None:
        self.label = label
        self.spec = spec
        self.said = Said()
        self.circuit = Circuit(spec.breaker)
        self.channel = Channel(spec.channel, on_full, self._dropped)
        self.in_flight: dict[str, Parcel] = {}
        self._write = write
        self._desk = desk
        self._sealer = Sealer(spec, desk.new_id)
        self._throttle = Throttle(spec.rate, 0.0)
        self._turn = asyncio.Lock()

    def choose(self, batch: Batch) -> Batch:
        """The rows of ``batch`` that ``when`` says this sink wants."""
        return batch if self.spec.when is None else batch.where(self.spec.when.mask(batch))

    async def work(self) -> None:
        """Deliver until the channel ends and all that was gathered is written."""
        while True:
            try:
                async with self._turn:
                    parcel = await self._next()
            except EndOfStream:
                return
            await self._deliver(parcel)

    def held(self) -> Iterator[tuple[str, int]]:
        """(source, rows) of all that is on the way to this sink."""
        yield from self.channel.held()
        yield from self._sealer.held()
        for parcel in self.in_flight.values():
            yield parcel.source, parcel.rows

    def batches(self) -> Iterator[Batch]:
        """The batches on the way to this sink."""
        yield from self.channel.batches()
        yield from self._sealer.batches()
        for parcel in self.in_flight.values():
            yield parcel.batch

    def sweep(self) -> Iterator[Leftover]:
        """Give up all that is on the way."""
        yield from self.channel.sweep()
        yield from self._sealer.sweep()
        flying, self.in_flight = self.in_flight, {}
        yield from map(leftover, flying.values())

    async def _next(self) -> Parcel:
        """The next sealed batch, now in flight. Raises EndOfStream at the very end."""
        loop = asyncio.get_running_loop()
        while not self._sealer.ready:
            due = self._sealer.due()
            try:
                parcel = await self.channel.get(due)
            except EndOfStream:
                self._sealer.drain()
                if not self._sealer.ready:
                    raise
                break
            if parcel is None:
                self._sealer.tick(latest(loop.time(), due))
            else:
                self._sealer.push(parcel, loop.time())
                self._sealer.tick(loop.time())
        sealed = self._sealer.ready.popleft()
        self.in_flight[sealed.batch.id] = sealed
        return sealed

    async def _deliver(self, parcel: Parcel) -> None:
        """Try until the rows are delivered, rejected or cut in two (rules 11 to 13)."""
        attempt = 0
        while True:
            await self._admission(parcel)
            try:
                await self._attempt(parcel)
            except Retryable as error:
                if error.too_large:
                    return await self._too_large(parcel, error)
                attempt += 1
                self.said.retries += 1
                self.said.faults = 0
                self.said.last_error = str(error)
                self.circuit.failure(asyncio.get_running_loop().time(), str(error))
                wait = wait_s(self.spec.retry, attempt, error.after_s, self._desk.random)
                await _pause(wait)
            else:
                return None

    async def _attempt(self, parcel: Parcel) -> None:
        """One Write and what becomes of the rows; raises only Retryable."""
        probing = self.circuit.state == "half-open"  # others wait for how this one ends
        try:
            await self._write(parcel.batch)
        except Retryable:
            raise
        except PartlyRejected as error:
            await self._partly(parcel, error)
        except Rejected as error:
            self._answered(error)
            await self._reject(parcel, "rejected", str(error))
        except EndOfStream:
            self._close(parcel)
        except asyncio.CancelledError as error:
            if cancelled():
                raise
            await self._fault(parcel, error)
        except Exception as error:
            await self._fault(parcel, error)
        else:
            self._answered()
            self._delivered(parcel, parcel.rows)
            self._settle(parcel, Outcome.DONE)
        finally:
            if probing:
                self.circuit.abandon()

    async def _admission(self, parcel: Parcel) -> None:
        """Wait for the breaker and for the rate."""
        loop = asyncio.get_running_loop()
        wait = self._throttle.spend(parcel.rows, parcel.batch.size, loop.time())
        await _pause(wait)
        while wait := self.circuit.wait(loop.time()):
            await _pause(wait)

    async def _too_large(self, parcel: Parcel, error: Retryable) -> None:
        """Halve it and go on with the halves; one row that is too large is rejected (rule 12)."""
        self._answered(error)
        if parcel.rows == 1:
            await self._reject(parcel, "too_large", str(error))
            return
        halves = self._sealer.halve(parcel)
        del self.in_flight[parcel.batch.id]
        self.in_flight |= {half.batch.id: half for half in halves}
        for half in halves:
            await self._deliver(half)

    async def _partly(self, parcel: Parcel, error: PartlyRejected) -> None:
        """Settle what was taken, and bury or refuse the rest (rule 11)."""
        if (nonsense := _nonsense(error, parcel.rows)) is not None:
            await self._fault(parcel, nonsense)
            return
        self._answered(error)
        if error.mask is None:
            refused = min(error.count or 0, parcel.rows)
            self._account(parcel).refused += refused
            self._delivered(parcel, parcel.rows - refused)
            self._settle(parcel, Outcome.DONE)
            return
        key = parcel.batch.id
        bad, good = parcel.divide(error.mask)
        if good is not None:
            self._delivered(good, good.rows)
            good.ticket.settle(Outcome.DONE)
        if bad is None:
            del self.in_flight[key]
            return
        bad.batch = bad.batch.sealed(self._desk.new_id())
        del self.in_flight[key]
        self.in_flight[bad.batch.id] = bad
        await self._reject(bad, "rejected", str(error))

    async def _reject(self, parcel: Parcel, reason: str, said: str) -> None:
        """To the dead letters; only a durable one is ``dead_lettered``."""
        durable = await self._desk.bury(parcel.batch, parcel.source, self.label, said)
        if durable:
            self._account(parcel).dead_lettered += parcel.rows
        else:
            self._account(parcel).dropped[reason] += parcel.rows
        self._settle(parcel, Outcome.DONE)
        self._desk.progress()

    async def _fault(self, parcel: Parcel, error: BaseException) -> None:
        """The sink itself broke: its batch is buried, ten in a row stop the run (rule 21)."""
        self.said.faults += 1
        said = f"{type(error).__name__}: {error}"
        self.said.last_error = said
        await self._reject(parcel, "stage_error", said)
        if self.said.faults >= FAULTS_IN_A_ROW:
            count = self.said.faults
            raise StageFailure(f"sink {self.label} failed {count} times in a row, at last {said}")

    def _close(self, parcel: Parcel) -> None:
        """The sink's reader went away (a closed pipe): nothing more can be delivered there."""
        self._account(parcel).dropped["closed"] += parcel.rows
        self._settle(parcel, Outcome.DONE)
        self._desk.finished()

    def _delivered(self, parcel: Parcel, rows: int) -> None:
        self._account(parcel).delivered += rows
        self.said.latency.add(parcel.batch, self._desk.clock.time_ns())
        self._desk.progress()

    def _settle(self, parcel: Parcel, outcome: Outcome) -> None:
        self.in_flight.pop(parcel.batch.id, None)
        parcel.ticket.settle(outcome)

    def _dropped(self, parcel: Parcel, reason: str) -> None:
        """The channel gave rows up by its policy: a named and counted rule."""
        self._account(parcel).dropped[reason] += parcel.rows
        parcel.ticket.settle(Outcome.DONE)

    def _account(self, parcel: Parcel) -> BranchAccount:
        return self._desk.ledger.branch[self.label, parcel.source]

    def _answered(self, error: DeliveryError | None = None) -> None:
        """The endpoint is there, whatever it said of the rows (rule 12)."""
        self.circuit.success()
        self.said.faults = 0
        if error is not None:
            self.said.last_error = str(error)


def _nonsense(error: PartlyRejected, rows: int) -> ContractError | None:
    """What is wrong with a sink's answer about a batch of ``rows`` rows."""
    if error.count is not None and error.count < 0:
        return ContractError(f"{error.count} rows cannot be rejected")
    if error.mask is not None and not one_a_row(error.mask, rows):
        return ContractError(f"the mask of rejected rows is not one bool for each of {rows} rows")
    return None


async def _pause(seconds: float) -> None:
    """Sleep, at least one turn of the loop: a sink that never waits leaves others their turn.

    A cancellation that the sink turned into another error, or swallowed, is raised here.
    """
    if cancelled():
        raise asyncio.CancelledError
    await asyncio.sleep(seconds)
