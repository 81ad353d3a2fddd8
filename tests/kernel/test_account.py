"""Rule 7, and what a reader does with rings that are full, slow, sampled or broken."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tapio.kernel import reader
from tapio.model.batch import Batch
from tapio.model.ticket import Outcome
from tests.kernel.producing import producing
from tests.kernel.running import Said, balanced, listening, to_end

pytestmark = pytest.mark.kernel

XOR = np.uint64(0x5555555555555555)


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled objects are kept."""
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(params=["mapped", "libbpf"], autouse=True)
def consumer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test here runs on the mapped ring and on libbpf's consumer."""
    monkeypatch.setenv("TAPIO_RING", request.param)
    return str(request.param)


def pids(said: Said) -> list[int]:
    """The rows' numbers, in order."""
    return [int(pid) for batch in said.batches for pid in batch["pid"]]


def torn(batch: Batch) -> int:
    """Rows whose sums do not agree with the rest of the record."""
    whole = batch["cpu_ns"] == batch["time_ns"].astype(np.uint64) + batch["pid"]
    page = np.uint64(4096)
    return int((~whole | (batch["peak_rss"] != (batch["cpu_ns"] ^ XOR) * page)).sum())


async def test_every_row_that_is_committed_is_taken_in_order(objects: Path) -> None:
    """100,000 rows come out once each, in the order in which they went in."""
    said = Said()
    cx = listening(said)
    async with (
        producing(cx, objects, size=1 << 24) as (read, produce),
        asyncio.TaskGroup() as group,
    ):
        reading = group.create_task(to_end(read, said))
        for _ in range(100):
            await asyncio.to_thread(produce, 1000)
            await asyncio.sleep(0)
        cx.stopping.set()  # type: ignore[attr-defined]
        await reading
    assert pids(said) == list(range(100_000))
    account = said.accounts["process.exit"]
    assert (account["taken"], account["lost"], account["in_ring"]) == (100_000, 0, 0)
    assert balanced(account)


async def test_what_does_not_fit_is_lost_and_counted(objects: Path) -> None:
    """A ring of 64 KiB takes its 682 records; each further one is in ``lost``, exactly."""
    said = Said()
    cx = listening(said)
    async with producing(cx, objects, size=1 << 16) as (read, produce):
        produce(5000)
        cx.stopping.set()  # type: ignore[attr-defined]
        await to_end(read, said)
    account = said.accounts["process.exit"]
    fit = (1 << 16) // 96
    assert pids(said) == list(range(fit))
    assert account["fired"] == account["attempted"] == 5000
    assert (account["committed"], account["lost"]) == (fit, 5000 - fit)
    assert balanced(account)


async def test_a_sample_keeps_one_subject_of_n_and_every_error(objects: Path) -> None:
    """About one row of eight is kept, all errors, and the others are counted."""
    said = Said()
    cx = listening(said)
    async with producing(cx, objects, sample_n=8) as (read, produce):
        produce(8000)
        produce(300, severity=17)
        cx.stopping.set()  # type: ignore[attr-defined]
        await to_end(read, said)
    account = said.accounts["process.exit"]
    errors = sum(int((batch["severity"] == 17).sum()) for batch in said.batches)
    assert errors == 300
    assert account["taken"] - 300 == pytest.approx(1000, abs=150)
    assert account["sampled_out"] == 8300 - account["taken"]
    assert balanced(account)


async def test_the_account_is_a_metric(objects: Path) -> None:
    """Whoever collects sees each topic's accounts, and the last ones after the source is closed."""
    metrics = InMemoryMetricReader()
    cx = listening(Said(), meter=MeterProvider([metrics]).get_meter("test"))
    async with producing(cx, objects, size=1 << 16) as (read, produce):
        produce(700)
        first, ticket = await read()
        ticket.settle(Outcome.DONE)
        live = points(metrics)
    assert len(first) == 682
    expected = {"fired": 700, "committed": 682, "lost": 18, "taken": 682, "recursion_misses": 0}
    assert live == points(metrics)
    assert expected.items() <= live.items()


def points(metrics: InMemoryMetricReader) -> dict[str, int]:
    """Account → rows of ``process.exit``."""
    data = metrics.get_metrics_data()
    assert data is not None
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    assert metric.name == "tapio_kernel_rows"
    found = {}
    for point in metric.data.data_points:
        labels = dict(point.attributes or {})
        if labels.pop("topic") == "process.exit":
            found[str(labels.pop("account"))] = int(point.value)  # type: ignore[union-attr]
            assert labels == {"pipeline": "test", "source": "stage"}
    return found


async def test_all_zero_is_inert(objects: Path) -> None:
    """A topic that is not switched on does not even fire."""
    said = Said()
    cx = listening(said)
    async with producing(cx, objects, topics=0) as (read, produce):
        produce(100)
        cx.stopping.set()  # type: ignore[attr-defined]
        await to_end(read, said)
    assert said.batches == []
    assert set(said.accounts["process.exit"].values()) == {0}


async def test_programs_of_another_version_stay_inert(objects: Path) -> None:
    """A configuration of a version that the programs do not know switches nothing on."""
    said = Said()
    cx = listening(said)
    async with producing(cx, objects, version=2) as (read, produce):
        produce(100)
        cx.stopping.set()  # type: ignore[attr-defined]
        await to_end(read, said)
    assert said.accounts["process.exit"]["fired"] == 0


async def test_records_held_busy_are_neither_torn_nor_passed_over(objects: Path) -> None:
    """Two producers that hold records for random times; every row is whole and comes once."""
    said = Said()
    cx = listening(said)

    def fill() -> None:
        for _ in range(20):
            produce(500, hold=200)

    async with (
        producing(cx, objects, size=1 << 22) as (read, produce),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(to_end(read, said))
        async with asyncio.TaskGroup() as producers:
            for _ in range(2):
                producers.create_task(asyncio.to_thread(fill))
        cx.stopping.set()  # type: ignore[attr-defined]
    account = said.accounts["process.exit"]
    assert sum(torn(batch) for batch in said.batches) == 0
    assert len(pids(said)) == account["taken"] == account["committed"] == 20_000
    assert balanced(account)


async def test_a_cancelled_read_loses_nothing(objects: Path) -> None:
    """Reads that are cancelled at random times, and no row is missing or twice."""
    said = Said()
    cx = listening(said)
    random = np.random.default_rng(3)
    async with producing(cx, objects) as (read, produce):
        for _ in range(300):
            produce(int(random.integers(0, 30)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(random.choice([0, 0.0001, 0.003]))):
                    while True:
                        batch, ticket = await read()
                        ticket.settle(Outcome.DONE)
                        said.batches.append(batch)
        made = produce.made
        cx.stopping.set()  # type: ignore[attr-defined]
        await to_end(read, said)
    assert pids(said) == list(range(made))


@pytest.mark.parametrize(
    ("rows", "severity", "woken"),
    [(1, 17, True), (4000, 9, True), (100, 9, False)],
    ids=["an error", "a quarter of the ring", "a few rows"],
)
async def test_the_kernel_wakes_the_reader_for_what_matters(
    objects: Path, monkeypatch: pytest.MonkeyPatch, rows: int, severity: int, woken: bool
) -> None:
    """An error or many bytes are read at once; a few rows wait until it is time to look."""
    monkeypatch.setattr(reader, "LOOK_EVERY_S", 1.0)
    cx = listening(Said())
    async with producing(cx, objects) as (read, produce):
        async with asyncio.TaskGroup() as group:
            first = group.create_task(read())
            await asyncio.sleep(0.1)
            began = time.monotonic()
            await asyncio.to_thread(produce, rows, severity)
            batch, ticket = await first
        ticket.settle(Outcome.DONE)
        took = time.monotonic() - began
    assert len(batch) > 0
    assert (took < 0.3) is woken


async def test_a_paused_reader_is_called_once_a_wakeup(objects: Path) -> None:
    """Rows that nobody reads, errors among them, call the loop when they come and not again."""
    async with producing(listening(Said()), objects) as (read, produce):
        event: asyncio.Event = read.__self__._wakeup  # type: ignore[attr-defined]
        for _ in range(3):
            produce(200, 17)
            async with asyncio.timeout(1):
                await event.wait()
            await asyncio.sleep(0.02)
            event.clear()
            await asyncio.sleep(0.05)
            assert not event.is_set()
