"""For tests of stages and pipelines: time that jumps, a scripted source, a faulty sink.

    source = Scripted((first, 2.0, second))               # two batches, two seconds apart
    sink = Faulty((Retryable("down"), Rejected("no")))    # what the first two Writes do
    end = simulate(Pipeline("test").source(source).step(Mine()).sink(sink), seed=1)
    assert end.error is None
    assert end.status["sinks"]["faulty"]["sources"]["scripted"]["dead_lettered"] == first.rows

The engine that runs is the real one. An hour of retries takes no time, and one seed gives
one run, always the same.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random
from typing import Any, ClassVar, NamedTuple, NoReturn, TypeVar, TypeVarTuple

import msgspec

from tapio.engine.run import Engine
from tapio.model.batch import Batch
from tapio.model.errors import EndOfStream
from tapio.model.origin import Origin
from tapio.model.plan import Plan
from tapio.model.stage import Context, Delivery, Read, Sink, Source, Write
from tapio.model.ticket import Outcome, Ticket
from tapio.pipeline import Pipeline

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_NS = 1_700_000_000_000_000_000
"""The wall clock when a virtual loop starts: some day in 2023."""
TURN_S = 1e-9
"""What a turn of a virtual loop takes: time never quite stands still."""
SPIN = 100_000
"""Turns of the loop without a jump of time: no pipeline needs a hundredth of that."""


class Stuck(Exception):
    """A virtual loop cannot go on, or did not end; the sentence says where its tasks wait."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose time jumps to the next timer when nothing else is to be done.

    Deterministic, without sockets and threads. Raises Stuck where nothing is scheduled any
    more, where time stands still, and at ``limit_s``.
    """

    def __init__(self, limit_s: float = 86_400.0) -> None:
        super().__init__()
        self.limit_s = limit_s
        self._now = 0.0
        self._spun = 0
        self._selector = self
        self.numbers = count(1)
        self.set_task_factory(_numbered)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """What asyncio asks instead of waiting: nothing comes from outside, so time jumps."""
        if timeout is None:
            raise Stuck(f"nothing is scheduled at {self._now:.3f} s{self._waiting()}")
        self._spun = 0 if timeout > 0 else self._spun + 1
        if self._spun > SPIN:
            self._spun = 0
            raise Stuck(f"time stands still at {self._now:.3f} s{self._waiting()}")
        self._now += max(timeout, TURN_S)
        if self._now > self.limit_s:
            raise Stuck(f"still running at {self._now:.3f} s{self._waiting()}")
        return []

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> NoReturn:
        """Refused: a thread's work takes real time."""
        raise RuntimeError(f"{func} wants a thread, which has no place in virtual time")

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _waiting(self) -> str:
        """Where each task waits, innermost line first."""
        lines = []
        for task in sorted(asyncio.all_tasks(self), key=hash):
            frames = task.get_stack()
            where = f"{frames[-1].f_code.co_qualname}:{frames[-1].f_lineno}" if frames else "-"
            lines.append(f"\n  {task.get_name()} at {where}")
        return "".join(lines)


class _Task(asyncio.Task[Any]):
    """Tasks are kept in sets: numbered, they are cancelled in the same order in each run."""

    def __init__(self, coro: Any, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


def _numbered(loop: Any, coro: Any, **options: Any) -> _Task:
    return _Task(coro, next(loop.numbers), loop=loop, **options)


class VirtualClock:
    """The Clock of a virtual loop: wall clock and monotonic time in step with it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start_ns: int = START_NS) -> None:
        self._loop = loop
        self._start_ns = start_ns

    def time_ns(self) -> int:
        """Wall clock, ns since 1970."""
        return self._start_ns + round(self._loop.time() * 1e9)

    def monotonic(self) -> float:
        """The loop's own time."""
        return self._loop.time()


class Scripted(Source, frozen=True, tag="scripted"):
    """Gives each batch of ``script`` in turn; a number is a pause, in seconds.

    Ends after the last, or when it is asked to stop. ``outcomes`` says how each delivery was
    settled, in the order in which that happened.
    """

    script: tuple[Batch | float, ...]
    outcomes: list[Outcome] = msgspec.field(default_factory=list)

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """Start the script at its beginning."""
        todo = deque(self.script)

        def settled(batch: Batch, outcome: Outcome) -> None:
            self.outcomes.append(outcome)
            if self.replayable and outcome is Outcome.RETRY:
                todo.appendleft(batch)

        async def read() -> Delivery:
            while todo and not cx.stopping.is_set():
                if isinstance(batch := todo[0], Batch):
                    todo.popleft()
                    return Delivery(batch, Ticket(lambda o: settled(batch, o)))
                await _pause(batch, cx)
                todo.popleft()
            raise EndOfStream

        yield read


class Replayed(Scripted, frozen=True, tag="replayed"):
    """A ``Scripted`` that gives a delivery again when it is settled RETRY."""

    replayable: ClassVar[bool] = True


async def _pause(seconds: float, cx: Context) -> None:
    try:
        async with asyncio.timeout(seconds):
            await cx.stopping.wait()
    except TimeoutError:
        return


class Faulty(Sink, frozen=True, tag="faulty"):
    """A sink whose Writes do what ``script`` says, one entry each; then they take everything.

    An exception is raised, a number is a stall in seconds before the rows are taken, None takes
    them at once. ``taken`` holds the batches that were taken.
    """

    script: tuple[Exception | float | None, ...] = ()
    taken: list[Batch] = msgspec.field(default_factory=list)

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Write]:
        """Start the script at its beginning."""
        todo = deque(self.script)

        async def write(batch: Batch) -> None:
            act = todo.popleft() if todo else None
            if isinstance(act, Exception):
                raise act
            if act is not None:
                await asyncio.sleep(act)
            self.taken.append(batch)

        yield write


class Burial(NamedTuple):
    """A dead letter: the rows, and who gave them up and why."""

    batch: Batch
    source: str
    stage: str
    reason: str


@dataclass(slots=True)
class Simulation:
    """How a simulated run ended; ``status`` is the engine's, read after the last await."""

    status: dict[str, Any] = field(default_factory=dict)
    buried: list[Burial] = field(default_factory=list)
    error: BaseException | None = None
    seconds: float = 0.0

    def note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Keep what a callback raised, as the loop's exception handler."""
        self.error = self.error or context.get("exception") or RuntimeError(context["message"])


def simulate(
    pipeline: Pipeline | Plan,
    *,
    seed: int = 0,
    stop_s: float | None = None,
    limit_s: float = 86_400.0,
) -> Simulation:
    """Run ``pipeline`` in virtual time to its end, or to the end of a stop asked for at ``stop_s``.

    ``seed`` chooses the jitter of retries. Dead letters are kept in memory, state in a folder
    that is removed. ``error`` is what the run or a callback of it raised. Raises Stuck where
    the run does not end.
    """
    plan = pipeline.plan if isinstance(pipeline, Pipeline) else pipeline
    loop, end = VirtualLoop(limit_s), Simulation()

    async def bury(batch: Batch, source: str, stage: str, reason: str) -> bool:
        end.buried.append(Burial(batch, source, stage, reason))
        return True

    with tempfile.TemporaryDirectory() as folder:
        plan = replace(plan, settings=msgspec.structs.replace(plan.settings, state_dir=folder))
        engine = Engine(
            plan,
            clock=VirtualClock(loop),
            origin=Origin("virtual", "", f"{seed:016x}"),
            bury=bury,
            random=Random(seed),  # noqa: S311 - the point is that it repeats
        )
        loop.set_exception_handler(end.note)
        try:
            loop.run_until_complete(_run(engine, stop_s, end))
        finally:
            loop.close()
    return end


async def _run(engine: Engine, stop_s: float | None, end: Simulation) -> None:
    loop = asyncio.get_running_loop()
    timer = None if stop_s is None else loop.call_at(stop_s, engine.stop)
    try:
        await engine.run()
    except Exception as error:  # noqa: BLE001 - how it ended is what was asked for
        end.error = end.error or error
    finally:
        if timer is not None:
            timer.cancel()
        end.status, end.seconds = engine.status(), loop.time()
