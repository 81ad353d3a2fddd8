"""Bugs to plant into the engine: limits, the end, and what fails (rules 19 to 21).

Each is a slip that somebody could make; its docstring says which rule it breaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from tapio.engine import cells
from tapio.engine.branch import Branch
from tapio.engine.cancel import Cut
from tapio.engine.cells import Morgue, TransformCell
from tapio.engine.flow import Flow
from tapio.engine.limits import MemoryGauge, Throttle
from tapio.engine.parcel import Parcel
from tapio.engine.pump import Segment
from tapio.engine.reader import Reader
from tapio.engine.run import Engine
from tapio.engine.windows import WindowCell
from tapio.model.ticket import Outcome
from tests.sim.planting import Real, plant

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


@plant(Engine, "_finish")
def the_deadline_is_forgotten(real: Real) -> Real:
    """Rule 20: a drain takes as long as it takes."""

    def finish(self: Engine) -> None:
        with patch.object(self, "_deadline", Cut()):
            real(self)

    return finish


@plant(Engine, "_finish")
def reads_are_never_cancelled(real: Real) -> Real:
    """Rule 20: a read that waits after stop_s goes on waiting."""

    def finish(self: Engine) -> None:
        with patch.object(self, "_readers", []):
            real(self)

    return finish


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
