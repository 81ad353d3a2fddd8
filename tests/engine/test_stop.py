"""Stop and drain (rule 20), in virtual time and in real time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tapio.engine.run import Engine
from tapio.model.policy import Settings
from tapio.model.stage import Context, Delivery, Read, Source, Write
from tapio.model.ticket import Ticket
from tapio.pipeline import Pipeline
from tapio.testing import Faulty, Scripted, simulate
from tests.engine.rows import batch, virtually

QUICK = Settings(stop_s=1, drain_s=3)


class Endless(Source, frozen=True, tag="endless"):
    """A source that does not heed a stop: its second read never returns."""

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """One batch."""
        given = False

        async def read() -> Delivery:
            nonlocal given
            if given:
                await asyncio.Event().wait()
            given = True
            return Delivery(batch(2), Ticket())

        yield read


def test_a_stop_after_one_of_two_sources_has_ended() -> None:
    """Rule 20: a source that has ended already does not get in the way of a stop."""
    pipeline = Pipeline("p").source(Scripted((batch(3),)), Scripted((batch(3), 1000.0)))
    end = simulate(pipeline.sink(Faulty()), stop_s=5)
    assert end.error is None
    assert end.seconds == pytest.approx(5, abs=0.1)


def test_a_read_that_still_waits_is_cancelled_after_stop_s() -> None:
    """Rule 20: a read() still waiting after ``stop_s`` is cancelled, and not before."""
    end = simulate(Pipeline("p").source(Endless()).sink(Faulty()).settings(QUICK), stop_s=5)
    assert end.error is None
    assert end.seconds == pytest.approx(6, abs=0.01)


def test_a_stop_while_the_plan_opens_holds_for_its_reads() -> None:
    """Rule 20: a stop asked for before the sources were open cancels reads after ``stop_s``."""
    engines: list[Engine] = []

    class Stops(Faulty, frozen=True, tag="stops"):
        @asynccontextmanager
        async def open(self, cx: Context) -> AsyncIterator[Write]:
            engines[0].stop()
            async with super().open(cx) as write:
                yield write

    async def run() -> float:
        await engines[0].run()
        return asyncio.get_running_loop().time()

    plan = Pipeline("p").source(Endless()).sink(Stops()).settings(QUICK).plan
    engines.append(Engine(plan))
    assert virtually(run()) == pytest.approx(1, abs=0.01)
    assert engines[0].status()["imbalance"] == 0


class Hangs(Faulty, frozen=True, tag="hangs"):
    """A sink that never opens."""

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Write]:
        """Wait for what does not come."""
        await asyncio.Event().wait()
        yield  # type: ignore[misc]


def test_a_stop_ends_an_opening_that_hangs() -> None:
    """Rule 20: what still opens after ``stop_s`` is cancelled, what was open is closed."""
    closed: list[str] = []

    class Closes(Faulty, frozen=True, tag="closes"):
        @asynccontextmanager
        async def open(self, cx: Context) -> AsyncIterator[Write]:
            async with super().open(cx) as write:
                yield write
            closed.append(cx.stage)

    async def run() -> float:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.call_later(7, stop.set)
        engine = Engine(pipeline.plan)
        await engine.run(stop)
        assert engine.state == "stopped"
        return loop.time()

    pipeline = Pipeline("p").source(Endless()).sink(Closes(), Hangs()).settings(QUICK)
    assert virtually(run()) == pytest.approx(8, abs=0.01)
    assert closed == ["closes"]


def test_a_stop_after_the_end_does_nothing() -> None:
    """Rule 20: a stop may come at any time, also while the sources close."""

    class Closes(Scripted, frozen=True, tag="closes"):
        @asynccontextmanager
        async def open(self, cx: Context) -> AsyncIterator[Read]:
            async with super().open(cx) as read:
                yield read
            engines[0].stop()

    engines = [Engine(Pipeline("p").source(Closes((batch(1),))).sink(Faulty()).plan)]
    virtually(engines[0].run())
    assert engines[0].state == "stopped"
