"""A run from opening to the last ticket: errors, cancellation, several in one loop, fusing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from tapio.model.errors import EndOfStream
from tapio.model.policy import Settings
from tapio.model.stage import Context, Delivery, Read, Source
from tapio.model.ticket import Outcome, Ticket
from tapio.pipeline import Pipeline
from tapio.testing import Faulty, simulate
from tests.engine.rows import Does, Fates, batch

DONE, RETRY = Outcome.DONE, Outcome.RETRY


class Forgets(Source, frozen=True, tag="forgets"):
    """A source that raises when it hears how its second delivery ended."""

    fates: Fates
    replayable: ClassVar[bool] = True

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """Six deliveries of five rows."""
        given = 0

        def hear(number: int, outcome: Outcome) -> None:
            self.fates.append(outcome)
            if number == 2:
                raise RuntimeError("no such delivery")

        async def read() -> Delivery:
            nonlocal given
            given += 1
            if given > 6:
                await cx.stopping.wait()
                raise EndOfStream
            number = given
            return Delivery(batch(5, 5 * given), Ticket(lambda outcome: hear(number, outcome)))

        yield read


@pytest.mark.parametrize("keep", [True, False])
def test_a_source_that_fails_to_hear_ends_the_run_and_loses_no_row(keep: bool) -> None:
    """Rules 8 and 21: what a ticket's owner raises ends the run; every ticket is settled."""
    fates = Fates()
    step = Does(call=lambda b: b if keep else b.slice(0, 0))
    pipeline = Pipeline("p").source(Forgets(fates)).step(step).sink(Faulty(max_rows=5))
    end = simulate(pipeline)
    assert isinstance(end.error, RuntimeError)
    assert str(end.error) == "no such delivery"
    assert end.status["imbalance"] == 0
    assert len(fates) == 6
    assert end.seconds < 1


def test_a_source_that_fails_to_hear_at_the_end_loses_no_row() -> None:
    """Rules 8 and 20: the sweep at the deadline goes on after an error of a ticket's owner."""
    fates = Fates()
    sink = Faulty((1000.0,) * 9, max_rows=5, concurrency=9)
    pipeline = Pipeline("p").source(Forgets(fates)).sink(sink)
    end = simulate(pipeline.settings(Settings(drain_s=1)), stop_s=1)
    assert isinstance(end.error, RuntimeError)
    assert end.status["imbalance"] == 0
    assert fates == [RETRY] * 6
