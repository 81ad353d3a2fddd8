"""A run from opening to the last ticket: order, errors, cancellation, several in one loop."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from tapio.engine.cells import StageFailure
from tapio.engine.run import Engine
from tapio.model.batch import Batch
from tapio.model.errors import EndOfStream, Retryable
from tapio.model.policy import Memory, Settings
from tapio.model.schema import ERROR
from tapio.model.stage import (
    Batching,
    Context,
    Delivery,
    Enrich,
    Read,
    Sink,
    Source,
    Stateful,
    Step,
    Transform,
    Window,
    Write,
)
from tapio.model.ticket import Outcome, Ticket
from tapio.pipeline import Pipeline
from tapio.testing import Faulty, Replayed, Scripted, simulate
from tests.engine.rows import Does, Fates, batch, numbers, virtually

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


class Opens(Scripted, frozen=True, tag="opens"):
    """A source that notes when it opens and closes, and may fail to open."""

    notes: list[str] = msgspec.field(default_factory=list)
    fails: bool = False

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """Note it."""
        self.notes.append(f"+{cx.stage}")
        if self.fails:
            raise PermissionError("not allowed")
        async with super().open(cx) as read:
            try:
                yield read
            finally:
                self.notes.append(f"-{cx.stage} {self.outcomes}")


class Enriches(Enrich, frozen=True, tag="enriches"):
    """An enricher that notes when it opens and closes."""

    notes: list[str]

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Transform]:
        """Note it."""
        self.notes.append(f"+{cx.stage}")
        try:
            yield lambda batch: batch
        finally:
            self.notes.append(f"-{cx.stage}")


class Drains(Sink, frozen=True, tag="drains"):
    """A sink that notes when it opens and closes."""

    notes: list[str]

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Write]:
        """Note it."""
        self.notes.append(f"+{cx.stage}")

        async def write(batch: Batch) -> None:
            self.notes.append(f"write {batch.rows}")

        try:
            yield write
        finally:
            self.notes.append(f"-{cx.stage}")


def test_sinks_open_first_and_close_last() -> None:
    """Rule 20: sources close after their tickets have settled, then steps, then sinks."""
    notes: list[str] = []
    pipeline = Pipeline("p").source(Opens((batch(3),), notes=notes)).enrich(Enriches(notes))
    simulate(pipeline.sink(Drains(notes)))
    assert notes == [
        "+drains", "+enriches", "+opens",
        "write 3", f"-opens {[DONE]}", "-enriches", "-drains",
    ]  # fmt: skip


def test_what_was_opened_is_closed_where_opening_fails() -> None:
    """The error of an open() comes out as it is, and what was open before is closed."""
    notes: list[str] = []
    sources = Opens((batch(3),), notes=notes), Opens((), notes=notes, fails=True)
    end = simulate(Pipeline("p").source(*sources).sink(Drains(notes)))
    assert isinstance(end.error, PermissionError)
    assert notes == ["+drains", "+opens", "+opens-2", "-opens []", "-drains"]
    assert end.status["state"] == "stopped"


def test_errors_of_several_stages_come_together() -> None:
    """Rule 21: one error comes out bare, several as an ExceptionGroup; all rows are counted."""
    broken = Does(call=lambda b: 1 / 0)  # type: ignore[arg-type,return-value]
    rows = tuple(batch(1, n, ERROR) for n in range(12))
    end = simulate(Pipeline("p").source(Replayed(rows)).step(broken).sink(Faulty()))
    assert isinstance(end.error, StageFailure)
    assert end.status["imbalance"] == 0
    sinks = [Faulty((ValueError("no"),) * 12, max_rows=1) for _ in range(2)]
    end = simulate(Pipeline("p").source(Replayed(rows)).sink(*sinks))
    assert isinstance(end.error, ExceptionGroup)
    assert len(end.error.exceptions) == 2
    assert end.status["imbalance"] == 0


def test_a_run_that_is_cancelled_settles_all() -> None:
    """Rule 21: cancelled at any turn of the loop, a run leaves no ticket, row, task or timer."""

    async def cancelled_at(turns: int) -> bool:
        source = Replayed((batch(5), 0.01, batch(5, 5), 0.01, batch(5, 10)))
        sink = Faulty((Retryable("down"), 0.02, Retryable("down"), 0.02), max_rows=2)
        engine = Engine(Pipeline("p").source(source).sink(sink).plan)
        async with asyncio.TaskGroup() as group:
            run = group.create_task(engine.run())
            for _ in range(turns):
                await asyncio.sleep(0)
            finished = run.done()
            run.cancel()
        assert engine.status()["imbalance"] == 0
        assert sum(s["held"] for s in engine.status()["sources"].values()) == 0
        assert len(asyncio.all_tasks()) == 1
        given = engine.status()["sources"].get("replayed", {"taken": 0})["taken"] // 5
        assert len(source.outcomes) == given
        return finished

    async def main() -> None:
        for turns in range(120):
            await cancelled_at(turns)

    virtually(main())


async def test_several_pipelines_share_a_loop(tmp_path: Path) -> None:
    """Nothing is global: pipelines of equal plans run side by side, each with its own books."""
    sinks = [Faulty(max_age_s=0.01) for _ in range(3)]
    settings = Settings(state_dir=str(tmp_path))
    source = Scripted((batch(5), 0.02, batch(5, 5)))
    engines = [
        Engine(Pipeline("same").source(source).sink(sink).settings(settings).plan) for sink in sinks
    ]
    async with asyncio.TaskGroup() as group:
        for engine in engines:
            group.create_task(engine.run())
    assert [numbers(sink.taken) for sink in sinks] == [list(range(10))] * 3
    ids = {b.id for sink in sinks for b in sink.taken}
    assert len(ids) == sum(len(sink.taken) for sink in sinks)
    for engine in engines:
        assert engine.status()["sources"]["scripted"]["taken"] == 10
        assert engine.status()["imbalance"] == 0


async def test_a_run_is_a_guest_in_its_loop() -> None:
    """No signal handler, no logging handler, no task, exception hook or policy is left or set."""
    loop = asyncio.get_running_loop()
    before = _surroundings(loop)
    seen: list[Any] = []
    spy = Does(call=lambda b: seen.append(_surroundings(loop)) or b)
    await Pipeline("p").source(Scripted((batch(5),))).step(spy).sink(Faulty()).run()
    assert seen == [before]
    assert _surroundings(loop) == before
    assert len(asyncio.all_tasks()) == 1


def _surroundings(loop: asyncio.AbstractEventLoop) -> tuple[Any, ...]:
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    root = logging.getLogger()
    ours = logging.getLogger("tapio")
    return (*handlers, list(root.handlers), root.level, list(ours.handlers), ours.level,
            loop.get_exception_handler(), loop.get_task_factory())  # fmt: skip


@pytest.mark.parametrize("fuse", [True, False])
async def test_stop_and_drain_in_real_time(fuse: bool) -> None:
    """Rule 20: a stop lets what was taken reach its sink, and the run returns."""
    source = Scripted((batch(5), 0.01, batch(5, 5), 60.0))
    sink = Faulty((Retryable("busy", after_s=0.01), 0.01), max_age_s=30)
    settings = Settings(fuse=fuse)
    stop = asyncio.Event()
    steps = Does(), Does()
    pipeline = Pipeline("p").source(source).step(*steps).sink(sink).settings(settings)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(pipeline.run(stop))
        await asyncio.sleep(0.05)
        stop.set()
    assert numbers(sink.taken) == list(range(10))
    assert source.outcomes == [DONE, DONE]


async def test_a_kill_leaves_nothing_acknowledged_that_was_not_delivered() -> None:
    """Rule 17: cancelled while a sink works, what it had not taken is not acknowledged."""
    source = Replayed(tuple(batch(5, 5 * n, ERROR) for n in range(10)))
    sink = Faulty((None, None, 60.0))
    engine = Engine(Pipeline("p").source(source).sink(sink).plan)
    async with asyncio.TaskGroup() as group:
        run = group.create_task(engine.run())
        await asyncio.sleep(0.05)
        run.cancel()
    assert source.outcomes.count(DONE) == len(sink.taken) == 2
    assert source.outcomes.count(RETRY) == 8
    assert engine.status()["sinks"]["faulty"]["sources"]["replayed"]["returned"] == 40


class Sums(Batching, frozen=True, tag="sums"):
    """Replaces ten rows, or what came in a second, by their first one."""

    def start(self, cx: Context) -> Window:
        """A window."""
        return _Sum()


class _Sum:
    hold_s = 1.0

    def __init__(self) -> None:
        self.got: list[Batch] = []

    def push(self, batch: Batch, now_ns: int) -> bool:
        self.got.append(batch)
        return self.held() >= 10

    def flush(self, now_ns: int) -> list[Batch]:
        got, self.got = self.got, []
        return [b.slice(0, 1) for b in got[:1]]

    def held(self) -> int:
        return sum(b.rows for b in self.got)


def test_unfused_equals_fused() -> None:
    """Adjacent stages in one task or in one each: the same rows, accounts and figures."""
    said = []
    for fuse in True, False:
        sink, source = Faulty(), Scripted(tuple(batch(5, 5 * n) for n in range(9)))
        steps = (
            Does(call=lambda b: b.where(b["n"] % 3 != 0)),
            Does(call=lambda b: 1 // (b["n"][0] != 10) and b),
        )
        pipeline = Pipeline("p").source(source).step(*steps).batch(Sums()).step(Does()).sink(sink)
        end = simulate(pipeline.settings(Settings(fuse=fuse)))
        rows = [b.batch["n"].tolist() for b in end.buried]
        said.append((numbers(sink.taken), rows, end.status["sources"], end.status["stages"]))
    assert said[0] == said[1]
    assert said[0][0]
    assert said[0][1]


class Counts(Step, frozen=True, tag="counts"):
    """A step that remembers how many rows it has seen."""

    live: list[Any]

    def start(self, cx: Context) -> Stateful:
        """With its memory."""
        self.live.append(_Count())
        return self.live[-1]  # type: ignore[no-any-return]


class _Count:
    def __init__(self) -> None:
        self.rows = 0

    def step(self, batch: Batch, now_ns: int) -> Batch:
        self.rows += batch.rows
        return batch

    def snapshot(self) -> bytes:
        return str(self.rows).encode()

    def restore(self, state: bytes) -> None:
        self.rows = int(state)


async def test_what_a_stage_remembers_survives_a_restart(tmp_path: Path) -> None:
    """State is saved at the drain and given back at the next start; damaged, it starts afresh."""
    counts = Counts([])
    pipeline = Pipeline("p").source(Scripted((batch(5),))).step(counts).sink(Faulty())
    pipeline = pipeline.settings(Settings(state_dir=str(tmp_path)))
    for _ in range(2):
        await pipeline.run()
    assert counts.live[-1].rows == 10
    _state(tmp_path).write_bytes(b"not a number")
    await pipeline.run()
    assert counts.live[-1].rows == 5


def _state(folder: Path) -> Path:
    return folder / "snapshots/p/counts.state"


def test_state_is_saved_each_minute(tmp_path: Path) -> None:
    """A process that is killed loses a minute of a stage's memory at most."""
    counts = Counts([])
    source = Scripted((batch(5), 61.0, batch(5), 10.0))
    pipeline = Pipeline("p").source(source).step(counts).sink(Faulty())
    engine = Engine(pipeline.settings(Settings(state_dir=str(tmp_path))).plan)

    async def main() -> list[bytes]:
        seen = []
        async with asyncio.TaskGroup() as group:
            run = group.create_task(engine.run())
            for at in 59, 61.5:
                await asyncio.sleep(at - asyncio.get_running_loop().time())
                seen.append(_state(tmp_path).read_bytes() if _state(tmp_path).exists() else b"")
            run.cancel()
        return seen

    assert virtually(main()) == [b"", b"5"]


def test_sources_are_not_read_above_the_soft_limit() -> None:
    """Rule 19: above soft a source waits, below it goes on; nothing is dropped."""
    size = sum(batch(1000).buffers().values())
    source = Replayed(tuple(batch(1000, 1000 * n) for n in range(20)))
    most: list[int] = []
    spy = Does(call=lambda b: most.append(engines[0].status()["memory"]["bytes"]) or b)
    sink = Faulty((0.2,) * 20, max_rows=1000)
    pipeline = Pipeline("p").source(source).step(spy).sink(sink)
    plan = pipeline.settings(Settings(memory=Memory(soft=3 * size, hard=100 * size))).plan
    engines = [Engine(plan)]
    virtually(engines[0].run())
    assert numbers(sink.taken) == list(range(20_000))
    assert 3 * size <= max(most) <= 5 * size


def test_above_the_hard_limit_the_least_severe_rows_go() -> None:
    """Rule 19: ``dropped{memory}``, lowest severity first, and nothing that is replayable."""
    size = sum(batch(1000).buffers().values())
    severities = [9, 17, 5, 13, 9, 17]
    rows = [batch(1000, 1000 * n, s) for n, s in enumerate(severities)]
    sources = Scripted(tuple(rows)), Replayed((batch(1000, 9000, 1), batch(1000, 10_000, 1)))
    sink = Faulty((3.0,), max_rows=1000, on_full="block")
    memory = Memory(soft=100 * size, hard=5 * size)
    end = simulate(Pipeline("p").source(*sources).sink(sink).settings(Settings(memory=memory)))
    assert end.status["imbalance"] == 0
    taken = {n // 1000 for n in numbers(sink.taken)}
    assert {9, 10} <= taken
    dropped = end.status["sinks"]["faulty"]["sources"]["scripted"]["dropped"]
    lost = set(range(6)) - taken
    assert dropped == {"memory": 1000 * len(lost)}
    assert 2 in lost
    assert not lost & {1, 5}


async def test_the_status_is_json_and_has_its_shape() -> None:
    """What the command, the metrics and /status read: all keys, plain values."""
    engine = Engine(Pipeline("p").source(Scripted((batch(5),))).step(Does()).sink(Faulty()).plan)
    assert not engine.ready
    before = engine.status()
    await engine.run()
    after = engine.status()
    for status in before, after:
        assert json.loads(json.dumps(status)) == status
    assert (before["state"], after["state"]) == ("opening", "stopped")
    keys = "pipeline state uptime_s loop memory pressure imbalance sources sinks stages"
    assert set(after) == set(keys.split(" "))
    assert after["stages"] == {"does": {"rows_in": 5, "rows_out": 5}}
    assert after["sinks"]["faulty"]["latency_s"]["count"] == 5
    assert after["loop"] in ("asyncio", "uvloop")
    assert engine.heartbeat > 0


class Gives(Source, frozen=True, tag="gives"):
    """A source whose read raises what it is given."""

    error: BaseException

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """One batch, then the error."""
        given = False

        async def read() -> Delivery:
            nonlocal given
            if given:
                raise self.error
            given = True
            return Delivery(batch(3), Ticket())

        yield read


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("gone"), "gone"),
        (TimeoutError("slow"), "slow"),
        (asyncio.CancelledError(), "source gives was cancelled from inside"),
    ],
)
def test_a_source_that_breaks_ends_the_run(error: BaseException, said: str) -> None:
    """Rule 21: whatever a read raises, its own cancellation too, ends the run; rows are counted."""
    end = simulate(Pipeline("p").source(Gives(error), Scripted((99.0,))).sink(Faulty()))
    assert end.error is not None
    assert str(end.error) == said
    assert end.status["imbalance"] == 0
    assert end.seconds < 1
