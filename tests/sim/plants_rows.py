"""Bugs to plant into the engine: accounts, windows, parking and tickets (rules 1 to 10).

Each is a slip that somebody could make; its docstring says which rule it breaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np

from tapio.engine import build, windows
from tapio.engine.branch import Branch
from tapio.engine.cells import TransformCell
from tapio.engine.flow import Flow
from tapio.engine.ledger import Account
from tapio.engine.parcel import Parcel
from tapio.engine.parking import LookupCell
from tapio.engine.seal import Sealer
from tapio.engine.windows import WindowCell
from tapio.model.ticket import Outcome, Ticket
from tests.sim.planting import Real, plant, seldom

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


@plant(build, "_behind_samplers")
def taps_stand_before_the_samplers(real: Real) -> Real:
    """Rule 5: the rows of a Tap are sampled, so that its sums are not exact any more."""
    return lambda plan, index: index + 1


@plant(windows, "_share")
def empty_flushes_settle_nothing(real: Real) -> Real:
    """Rule 8: a flush that gives nothing settles no ticket."""
    return lambda tickets, batches: real(tickets, batches) if batches else []


# parking


@plant(LookupCell, "_look")
def parked_rows_skip_a_stage(real: Real) -> Real:
    """Rows that were parked go on one stage too far."""

    def look(self: LookupCell, parcel: Parcel, until: float) -> Any:
        out = real(self, parcel, until)
        for parked in self._parked:
            parked.parcel.at = parcel.at + 1
        return out

    return look


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
