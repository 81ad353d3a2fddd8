"""What Tapio offers for tests: virtual time, a scripted source, a faulty sink."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tapio.model.errors import Rejected, Retryable
from tapio.model.policy import Breaker, Retry, Settings
from tapio.model.stage import Context, Read
from tapio.model.ticket import Outcome
from tapio.pipeline import Pipeline
from tapio.testing import Faulty, Replayed, Scripted, Stuck, VirtualClock, VirtualLoop, simulate
from tests.batches import counting


def test_an_hour_takes_no_time() -> None:
    """Time jumps to the next timer; wall clock and monotonic time go together."""
    loop = VirtualLoop()
    clock = VirtualClock(loop, 10**18)

    async def main() -> float:
        await asyncio.sleep(3600)
        return loop.time()

    begun = time.monotonic()
    assert loop.run_until_complete(main()) == pytest.approx(3600)
    assert time.monotonic() - begun < 5
    assert clock.time_ns() == pytest.approx(10**18 + 3600 * 10**9, abs=10**4)
    assert clock.monotonic() == loop.time()
    loop.close()


def test_order_is_that_of_time() -> None:
    """Timers ring in their order, whoever set them first."""
    heard = []

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)
        heard.append(seconds)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for seconds in (3.0, 1.0, 2.0, 0.0):
                group.create_task(wait(seconds))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    assert heard == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("forever", "said"),
    [
        (lambda: asyncio.Event().wait(), "nothing is scheduled at 0.000 s"),
        (lambda: _spin(), "time stands still"),
        (lambda: asyncio.sleep(1e6), "still running"),
    ],
)
def test_what_never_ends_is_stuck_and_says_where(forever: object, said: str) -> None:
    """A deadlock, a spin and an endless wait raise Stuck with the line where each task waits."""

    async def main() -> None:
        await forever()  # type: ignore[operator]

    loop = VirtualLoop(limit_s=1000)
    task = loop.create_task(main())
    with pytest.raises(Stuck, match=said) as stuck:
        loop.run_until_complete(task)
    assert "main" in str(stuck.value)
    loop.limit_s = 2e6
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


async def _spin() -> None:
    for _ in iter(int, 1):
        await asyncio.sleep(0)


def test_threads_are_refused() -> None:
    """A thread has no place in virtual time, and it is said."""

    async def main() -> None:
        await asyncio.to_thread(time.sleep, 0)

    with (
        asyncio.Runner(loop_factory=VirtualLoop) as runner,
        pytest.raises(RuntimeError, match="thread"),
    ):
        runner.run(main())


def test_a_script_is_played() -> None:
    """The example of the module: pauses, faults in their order, and where each row went."""
    first, second = counting("a.b", 3), counting("a.b", 4, 3)
    source = Scripted((first, 2.0, second))
    sink = Faulty((Retryable("down"), Rejected("no")))
    end = simulate(Pipeline("test").source(source).sink(sink), seed=1)
    assert end.error is None
    assert end.seconds == pytest.approx(2, abs=0.1)
    account = end.status["sinks"]["faulty"]["sources"]["scripted"]
    assert (account["dead_lettered"], account["delivered"]) == (3, 4)
    assert [b.reason for b in end.buried] == ["no"]
    assert source.outcomes == [Outcome.DONE, Outcome.DONE]
    assert [b.rows for b in sink.taken] == [4]


def test_a_replayed_delivery_comes_again() -> None:
    """What was settled RETRY is given again when the same source runs once more."""
    source = Replayed((counting("a.b", 3),))
    pipeline = Pipeline("test").source(source).settings(Settings(drain_s=1))
    down = Retry(initial_s=0.1, max_s=0.1)
    end = simulate(pipeline.sink(Faulty((Retryable("down"),) * 99, retry=down)), stop_s=1)
    assert source.outcomes == [Outcome.RETRY]
    assert end.seconds == pytest.approx(2, abs=0.1)


def test_one_seed_is_one_run() -> None:
    """The same seed gives the same jitter and the same end; another seed another."""
    faults = (Retryable("down"),) * 8
    options = {"breaker": Breaker(failures=100), "retry": Retry(initial_s=0.1, max_s=1)}

    def run(seed: int) -> float:
        sink = Faulty(faults, **options)
        return simulate(
            Pipeline("t").source(Scripted((counting("a.b", 3),))).sink(sink), seed=seed
        ).seconds

    assert run(1) == run(1)
    assert run(1) != run(2)


class Late(Scripted, frozen=True, tag="late"):
    """A source that leaves a callback behind, which fails."""

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """Half a second from now."""
        asyncio.get_running_loop().call_later(0.5, {}.pop, "unheard")
        async with super().open(cx) as read:
            yield read


def test_what_a_callback_raises_is_said() -> None:
    """An error that no task hears of is the error of the simulation."""
    end = simulate(Pipeline("t").source(Late((counting("a.b", 3), 1.0))).sink(Faulty()))
    assert isinstance(end.error, KeyError)
