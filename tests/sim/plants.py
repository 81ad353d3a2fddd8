"""Bugs to plant into the engine: the simulation must find each of them.

A plant replaces one function of the engine while its context is open. Each is a slip that
somebody could make; its docstring says which rule it breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from tapio.engine import branch as branches
from tapio.engine import cells, retry, windows
from tapio.engine.branch import Branch
from tapio.engine.breaker import Circuit
from tapio.engine.cells import Morgue, TransformCell
from tapio.engine.channel import Channel
from tapio.engine.flow import Flow
from tapio.engine.ledger import Account
from tapio.engine.limits import MemoryGauge, Throttle
from tapio.engine.parcel import Parcel
from tapio.engine.parking import LookupCell
from tapio.engine.pump import Segment
from tapio.engine.reader import Reader
from tapio.engine.run import Engine
from tapio.engine.seal import Sealer
from tapio.engine.windows import WindowCell
from tapio.model.errors import Retryable
from tapio.model.ticket import Outcome, Ticket

PLANTS: dict[str, Callable[[], Any]] = {}


def plant(where: Any, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a plant: ``where.name`` becomes what the decorated function makes of it."""

    def register(make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[..., Any]:
        PLANTS[make.__name__] = lambda: patch.object(where, name, make(vars(where)[name]))
        return make

    return register


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The engine with the bug ``name``."""
    with PLANTS[name]():
        yield


Real = Callable[..., Any]


def seldom(every: int) -> Callable[[], bool]:
    """True once in so many calls."""
    calls = 0

    def now() -> bool:
        nonlocal calls
        calls += 1
        return calls % every == 0

    return now


# rules 1 to 4: rows and accounts


@plant(Sealer, "_seal")
def lost_batch(real: Real) -> Real:
    """Rule 1: a sealed batch is forgotten now and then; its ticket is settled all the same."""
    rarely = seldom(7)

    def seal(self: Sealer, key: Any) -> None:
        real(self, key)
        if rarely():
            self.ready.pop().ticket.settle(Outcome.DONE)

    return seal


@plant(TransformCell, "push")
def forgotten_filter_count(real: Real) -> Real:
    """Rule 2: rows that a transform leaves out are not counted."""

    def push(self: TransformCell, parcel: Parcel, now: Any) -> Any:
        account = self._ledger.trunk[parcel.source]
        before = account.filtered
        out = real(self, parcel, now)
        account.filtered = before
        return out

    return push


@plant(TransformCell, "push")
def sampled_as_filtered(real: Real) -> Real:
    """Rule 2: what a sampler leaves out is counted as filtered."""

    def push(self: TransformCell, parcel: Parcel, now: Any) -> Any:
        self._removed = "filtered"
        return real(self, parcel, now)

    return push


@plant(Branch, "choose")
def skipped_is_delivered(real: Real) -> Real:
    """Rule 3: a sink is given rows that its ``when`` does not want."""

    def choose(self: Branch, batch: Any) -> Any:
        chosen = real(self, batch)
        return batch if 0 < chosen.rows < batch.rows else chosen

    return choose


@plant(Branch, "_partly")
def all_of_a_partly_rejected_batch_is_delivered(real: Real) -> Real:
    """Rules 3 and 11: the rows that a mask rejects are counted as delivered."""

    async def partly(self: Branch, parcel: Parcel, error: Any) -> None:
        if error.mask is not None:
            error.mask = np.zeros(parcel.rows, bool)
        await real(self, parcel, error)

    return partly


@plant(Branch, "_partly")
def refused_is_delivered(real: Real) -> Real:
    """Rules 3 and 11: rows that a count refuses are counted as delivered."""

    async def partly(self: Branch, parcel: Parcel, error: Any) -> None:
        if error.count is not None:
            error.count = 0
        await real(self, parcel, error)

    return partly


@plant(LookupCell, "held")
def held_forgets_parked(real: Real) -> Real:
    """Rule 4: looking does not find what is parked."""
    return lambda self: iter(())


@plant(Branch, "held")
def held_forgets_what_is_in_flight(real: Real) -> Real:
    """Rule 4: looking does not find what a writer has."""

    def held(self: Branch) -> Iterator[tuple[str, int]]:
        yield from self.channel.held()
        yield from self._sealer.held()

    return held


# rule 5 and 10: windows


@plant(WindowCell, "_made")
def made_rows_belong_to_their_source(real: Real) -> Real:
    """Rule 5: what a Window emits is booked on the source of what it was given."""

    def made(self: WindowCell, source: str, *rest: Any, **options: Any) -> Any:
        return real(self, source if source.endswith("-sums") else "s0", *rest, **options)

    return made


@plant(WindowCell, "_flush")
def absorbed_is_not_counted(real: Real) -> Real:
    """Rule 5: replaced rows are not absorbed."""

    def flush(self: WindowCell, key: Any, now: Any) -> Any:
        account = self._ledger.trunk[key[0]]
        before = account.absorbed
        out = real(self, key, now)
        account.absorbed = before
        return out

    return flush


@plant(WindowCell, "push")
def window_settles_before_its_flush(real: Real) -> Real:
    """Rule 10: a ticket is settled when its rows are pushed, not with the worst of the flush."""

    def push(self: WindowCell, parcel: Parcel, now: Any) -> Any:
        parcel.ticket, early = parcel.ticket.fork(2)
        parcel.ticket.settle(Outcome.DONE)
        real_ticket, parcel.ticket = early, Ticket()
        out = real(self, parcel, now)
        if not real_ticket.spent:
            real_ticket.settle(Outcome.DONE)
        if self._taps:
            parcel.ticket = Ticket()
        return out

    return push


@plant(windows, "_share")
def only_the_first_of_a_flush_answers(real: Real) -> Real:
    """Rule 10: the tickets settle with the first batch of a flush, not with the worst."""

    def share(tickets: list[Ticket], batches: int) -> list[Ticket]:
        return (
            [Ticket.join(tickets), *(Ticket() for _ in range(batches - 1))]
            if batches
            else real(tickets, 0)
        )

    return share


@plant(WindowCell, "push")
def windows_are_shared_by_sources(real: Real) -> Real:
    """Rule 10: one Window for all sources."""

    def push(self: WindowCell, parcel: Parcel, now: Any) -> Any:
        parcel.source = "s0"
        return real(self, parcel, now)

    return push


@plant(WindowCell, "push")
def windows_ignore_urgency(real: Real) -> Real:
    """Rule 10: an urgent row waits in its Window."""

    def push(self: WindowCell, parcel: Parcel, now: Any) -> Any:
        parcel.urgent = False
        return real(self, parcel, now)

    return push


@plant(Sealer, "push")
def seals_ignore_urgency(real: Real) -> Real:
    """Rule 10: an urgent row waits for max_age_s."""

    def push(self: Sealer, parcel: Parcel, now: float) -> None:
        parcel.urgent = False
        real(self, parcel, now)

    return push


# parking


@plant(LookupCell, "tick")
def parked_rows_pass_at_once(real: Real) -> Real:
    """What is parked is passed on as it is at the first tick."""
    return lambda self, now: [*real(self, now), *self.drain(now)]


@plant(LookupCell, "tick")
def parked_rows_never_expire(real: Real) -> Real:
    """What is parked is asked for again for ever."""

    def tick(self: LookupCell, now: Any) -> Any:
        for parked in self._parked:
            parked.until = now.s + 9
        return real(self, now)

    return tick


@plant(LookupCell, "push")
def parking_has_no_bound(real: Real) -> Real:
    """Any number of rows may be parked."""

    def push(self: LookupCell, parcel: Parcel, now: Any) -> Any:
        with patch.object(self, "_rows", -(10**9)):
            return real(self, parcel, now)

    return push


# rules 8 and 9: tickets


@plant(Branch, "_settle")
def double_settle(real: Real) -> Real:
    """Rule 8: a ticket is settled twice, past its own guard."""

    def settle(self: Branch, parcel: Parcel, outcome: Outcome) -> None:
        told = parcel.ticket._on_settle
        real(self, parcel, outcome)
        if told is not None:
            told(outcome)

    return settle


@plant(Flow, "dispatch")
def early_ack(real: Real) -> Real:
    """Rule 8: rows are acknowledged when they are handed to the branches."""

    def dispatch(self: Flow, parcel: Parcel) -> Any:
        parcel.ticket.settle(Outcome.DONE)
        parcel.ticket = Ticket()
        return real(self, parcel)

    return dispatch


@plant(Ticket, "fork")
def the_first_fork_settles(real: Real) -> Real:
    """Rule 8: one of several branches answers for all."""

    def fork(self: Ticket, holders: int) -> list[Ticket]:
        moved = real(self, 1)
        return [*moved, *(Ticket() for _ in range(holders - 1))]

    return fork


@plant(Account, "give_back")
def given_back_is_done(real: Real) -> Real:
    """Rule 9: rows that could not be finished are acknowledged."""

    def give_back(self: Account, left: Any, reason: str) -> None:
        real(self, left._replace(ticket=Ticket()), reason)
        left.ticket.settle(Outcome.DONE)

    return give_back


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


# rule 19: limits


@plant(Flow, "shed")
def replayable_rows_are_shed(real: Real) -> Real:
    """Rule 19: memory is shed from replayable sources too."""

    def shed(self: Flow, excess: int) -> None:
        for channel in self.channels():
            channel.shed(lambda p: True, "memory")

    return shed


@plant(Reader, "_memory")
def the_soft_limit_is_ignored(real: Real) -> Real:
    """Rule 19: sources are read above the soft limit."""

    async def memory(self: Reader) -> None:
        return

    return memory


@plant(MemoryGauge, "look")
def memory_is_never_measured(real: Real) -> Real:
    """Rule 19: what was once counted is never released, so that reading stops for good."""
    return lambda self: None


@plant(Throttle, "spend")
def the_rate_is_ignored(real: Real) -> Real:
    """Rule 19: a sink is given as much as it takes."""
    return lambda self, rows, size, now: 0.0


# rules 20 and 21: the end


@plant(Segment, "sweep")
def the_drain_loses_hands(real: Real) -> Real:
    """Rule 20: parcels between two stages are forgotten at the deadline."""

    def sweep(self: Segment) -> Iterator[Any]:
        self.hands.clear()
        yield from real(self)

    return sweep


@plant(WindowCell, "drain")
def windows_are_not_flushed_at_the_end(real: Real) -> Real:
    """Rule 20: what a Window holds at the end is given up."""
    return lambda self, now: []


@plant(Branch, "_next")
def the_last_pile_is_not_sealed(real: Real) -> Real:
    """Rule 20: what a sink has gathered at the end is given up."""

    async def next_one(self: Branch) -> Any:
        with patch.object(self._sealer, "drain", lambda: None):
            return await real(self)

    return next_one


@plant(Engine, "_drain_until")
def the_deadline_is_forgotten(real: Real) -> Real:
    """Rule 20: a drain takes as long as it takes."""
    return lambda self, when: None


@plant(Reader, "stop_at")
def reads_are_never_cancelled(real: Real) -> Real:
    """Rule 20: a read that waits after stop_s goes on waiting."""
    return lambda self, when: None


@plant(Flow, "sweep")
def rows_are_left_at_the_end(real: Real) -> Real:
    """Rule 20: what is on its way at the deadline is neither given back nor counted."""

    def sweep(self: Flow, reason: str) -> None:
        for branch in self.branches:
            for left in branch.sweep():
                left.ticket.settle(Outcome.RETRY)
        real(self, reason)

    return sweep


@plant(Morgue, "fault")
def failures_go_on_for_ever(real: Real) -> Real:
    """Rule 21: a stage that always fails never ends the run."""

    def fault(self: Morgue, stage: str, error: Exception) -> str:
        said: str = real(self, stage, error)
        self.failure = None
        return said

    return fault


@plant(Morgue, "healthy")
def failures_are_counted_for_good(real: Real) -> Real:
    """Rule 21: ten failures end the run, in a row or not."""
    return lambda self, stage: None


@plant(TransformCell, "push")
def a_failed_batch_is_dropped(real: Real) -> Real:
    """Rule 21: the batch that a stage failed on is not dead-lettered."""

    def push(self: TransformCell, parcel: Parcel, now: Any) -> Any:
        out = real(self, parcel, now)
        if self._morgue.dead:
            dead = self._morgue.dead.pop().parcel
            self._ledger.trunk[dead.source].dropped[f"{self.label}/stage_error"] += dead.rows
            dead.ticket.settle(Outcome.DONE)
        return out

    return push


@plant(cells, "check")
def contracts_are_not_checked(real: Real) -> Real:
    """Rule 21: a stage may make rows."""
    return lambda label, batch, out: None
