"""Bugs to plant into the engine: answers of sinks, channels and ids (rules 11 to 18).

Each is a slip that somebody could make; its docstring says which rule it breaks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapio.engine import branch as branches
from tapio.engine import retry
from tapio.engine.branch import Branch
from tapio.engine.breaker import Circuit
from tapio.engine.channel import Channel
from tapio.engine.parcel import Parcel
from tapio.engine.run import Engine
from tapio.engine.seal import Sealer
from tapio.model.errors import Retryable
from tapio.model.ticket import Outcome, Ticket
from tests.sim.planting import Real, plant, seldom

# rules 11 to 13: answers of sinks


@plant(Branch, "_deliver")
def retryable_is_given_up(real: Real) -> Real:
    """Rule 11: after a few tries a batch is dead-lettered."""

    async def deliver(self: Branch, parcel: Parcel) -> None:
        tries = 0
        write = self._write

        async def counted(batch: Any) -> None:
            nonlocal tries
            tries += 1
            try:
                await write(batch)
            except Retryable as error:
                if tries < 3 or error.too_large:
                    raise
                raise branches.Rejected("enough") from None

        self._write = counted
        try:
            await real(self, parcel)
        finally:
            self._write = write

    return deliver


@plant(branches, "wait_s")
def retry_after_is_ignored(real: Real) -> Real:
    """Rule 11: the endpoint's own wait is not honoured."""
    return lambda policy, attempt, after_s, random: retry.wait_s(policy, attempt, None, random)


@plant(branches, "wait_s")
def retries_wait_too_long(real: Real) -> Real:
    """Rule 11: the bound of a wait is not kept."""
    return lambda *given: 3 * real(*given) + 2


@plant(Branch, "_reject")
def dead_letters_are_always_durable(real: Real) -> Real:
    """Rule 11: a dead letter that is not durable counts as dead-lettered."""

    async def reject(self: Branch, parcel: Parcel, reason: str, said: str) -> None:
        await self._desk.bury(parcel.batch, parcel.source, self.label, said)
        self._account(parcel).dead_lettered += parcel.rows
        self._settle(parcel, Outcome.DONE)

    return reject


@plant(Branch, "_answered")
def rejections_open_the_breaker(real: Real) -> Real:
    """Rule 12: an error of the data counts as one of the endpoint."""

    def answered(self: Branch, error: Any = None) -> None:
        if error is None:
            real(self)
        else:
            self.circuit.failure(self._desk.clock.monotonic(), str(error))

    return answered


@plant(Branch, "_too_large")
def halves_wait_for_the_next_rows(real: Real) -> Real:
    """Rule 12: halves go back in line, where another worker may wait for rows that do not come."""

    async def too_large(self: Branch, parcel: Parcel, error: Any) -> None:
        if parcel.rows == 1:
            await real(self, parcel, error)
            return
        self._answered(error)
        del self.in_flight[parcel.batch.id]
        self._sealer.ready.extendleft(reversed(self._sealer.halve(parcel)))

    return too_large


@plant(Branch, "_too_large")
def too_large_is_rejected(real: Real) -> Real:
    """Rule 12: a batch that is too large is not halved."""

    async def too_large(self: Branch, parcel: Parcel, error: Any) -> None:
        await self._reject(parcel, "too_large", str(error))

    return too_large


@plant(Circuit, "wait")
def breaker_never_holds(real: Real) -> Real:
    """Rule 13: an open breaker lets everything through."""
    return lambda self, now: 0.0


@plant(Circuit, "wait")
def half_open_lets_all_through(real: Real) -> Real:
    """Rule 13: half-open, every worker probes."""

    def wait(self: Circuit, now: float) -> float:
        self._probing = False
        return float(real(self, now))

    return wait


@plant(Branch, "_admission")
def breaker_drops(real: Real) -> Real:
    """Rule 13: what waits while the breaker is open is dropped when it is full."""

    async def admission(self: Branch, parcel: Parcel) -> None:
        if self.circuit.state == "open":
            self.channel.shed(lambda p: True, self.channel.on_full)
        await real(self, parcel)

    return admission


@plant(Branch, "_admission")
def breaker_dead_letters(real: Real) -> Real:
    """Rule 13: with an open breaker a batch is dead-lettered."""

    async def admission(self: Branch, parcel: Parcel) -> None:
        if self.circuit.state == "open":
            await self._reject(parcel, "rejected", "the breaker is open")
            self.in_flight[parcel.batch.id] = parcel
            parcel.ticket = Ticket()
            self._account(parcel).passed += parcel.rows
        await real(self, parcel)

    return admission


@plant(Circuit, "abandon")
def probe_is_stuck(real: Real) -> Real:
    """Rule 13: a probe that ends without an answer keeps its place for ever."""
    return lambda self: None


# rule 14: channels


@plant(Channel, "offer")
def block_drops(real: Real) -> Real:
    """Rule 14: a full channel that should block drops."""

    def offer(self: Channel, parcel: Parcel) -> Any:
        if self.on_full == "block" and not self._fits(parcel) and self._drop is not None:
            self._give_up(parcel, "block")
            return None
        return real(self, parcel)

    return offer


@plant(Channel, "_evict")
def errors_are_dropped_first(real: Real) -> Real:
    """Rule 14: severity is not looked at when room is made."""

    def evict(self: Channel, newcomer: Parcel, *, keep_urgent: bool) -> None:
        real(self, newcomer, keep_urgent=False)

    return evict


@plant(Channel, "_fits")
def drops_with_room_left(real: Real) -> Real:
    """Rule 14: a channel is full at half its bounds."""

    def fits(self: Channel, parcel: Parcel) -> bool:
        return bool(real(self, parcel)) and (
            not self._items or 2 * (self.rows + parcel.rows) <= self.bounds.rows
        )

    return fits


# rules 16 and 18: ids and order


@plant(Engine, "_new_id")
def reused_id(real: Real) -> Real:
    """Rule 16: an id is given twice."""
    rarely = seldom(5)

    def new_id(self: Engine) -> str:
        given: str = real(self)
        if rarely():
            self._sealed -= 1
        return given

    return new_id


@plant(Engine, "_new_id")
def ids_without_the_epoch(real: Real) -> Real:
    """Rule 16: ids begin anew with each process."""

    def new_id(self: Engine) -> str:
        self._sealed += 1
        return f"{self._origin.node}.{self._sealed}"

    return new_id


@plant(Branch, "_deliver")
def recut_sealed_batch(real: Real) -> Real:
    """Rule 16: after a Retryable a sealed batch is cut in two, and one half keeps its id."""

    async def deliver(self: Branch, parcel: Parcel) -> None:
        write = self._write
        failed = False

        async def watched(batch: Any) -> None:
            nonlocal failed
            if failed and batch.rows > 1 and batch.id == parcel.batch.id:
                half = batch.slice(0, batch.rows // 2).sealed(batch.id)
                await write(half)
                rest = batch.slice(batch.rows // 2, batch.rows)
                batch = rest.sealed(self._desk.new_id())
            try:
                await write(batch)
            except Retryable:
                failed = True
                raise

        self._write = watched
        try:
            await real(self, parcel)
        finally:
            self._write = write

    return deliver


@plant(Sealer, "halve")
def a_half_keeps_the_id(real: Real) -> Real:
    """Rule 16: the first half of a batch that was too large keeps its id."""

    def halve(self: Sealer, parcel: Parcel) -> Any:
        id = parcel.batch.id
        first, second = real(self, parcel)
        first.batch = first.batch.sealed(id)
        return first, second

    return halve


@plant(Sealer, "_seal")
def sealed_in_another_order(real: Real) -> Real:
    """Rule 18: the rows of a batch come in reverse."""

    def seal(self: Sealer, key: Any) -> None:
        real(self, key)
        parcel = self.ready[-1]
        order = np.arange(parcel.rows)[::-1]
        parcel.batch = parcel.batch.take(order).sealed(parcel.batch.id)

    return seal
