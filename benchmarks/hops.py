"""Five channels between tasks, tickets, bounds and ledger on. Goal: tapio-unfused ≤ 20 ns/row."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.feed import Blackhole, Feed, Same
from benchmarks.result import Failed, Result, compared, interleaved
from tapio.engine.run import Engine
from tapio.model.plan import Plan
from tapio.model.policy import Settings

ROWS = 4096
HOPS = 5
"""Four steps, each behind a channel of its own where they are not fused, and the sink's."""


def run(*, quick: bool = False) -> Iterable[Result]:
    """Nanoseconds a row, the least of the rounds: fused, unfused, and an event at a time."""
    batches, events, rounds = (200, 5_000, 2) if quick else (4_000, 100_000, 5)
    taken = interleaved(
        rounds,
        {
            "tapio": lambda: pipeline(batches, fuse=True),
            "tapio-unfused": lambda: pipeline(batches, fuse=False),
            "asyncio-queue-per-event": lambda: asyncio.run(queues(events)),
        },
    )
    least = {case: min(figures) for case, figures in taken.items()}
    ours = {case: value for case, value in least.items() if case.startswith("tapio")}
    yield from compared("hops", "ns/row", ours, {k: v for k, v in least.items() if k not in ours})


def pipeline(batches: int, *, fuse: bool) -> float:
    """Nanoseconds a row, first read to last settled ticket; Failed where a row is missing."""
    rows = batches * ROWS
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(
            Plan(
                "hops",
                (Feed(batches, rows=ROWS),),
                (Same(),) * (HOPS - 1),
                (Blackhole(max_rows=ROWS, on_full="block"),),
                Settings(fuse=fuse, state_dir=str(Path(folder))),
            )
        )
        start = time.perf_counter_ns()
        asyncio.run(engine.run())
        spent = time.perf_counter_ns() - start
    said = engine.status()
    delivered = said["sinks"]["blackhole"]["sources"]["feed"]["delivered"]
    if delivered != rows or said["imbalance"]:
        raise Failed(f"{delivered} of {rows} rows delivered, imbalance {said['imbalance']}")
    return spent / rows


async def queues(events: int) -> float:
    """Nanoseconds an event through five ``asyncio.Queue``, each read by a task of its own."""
    links: list[asyncio.Queue[dict[str, int] | None]] = [asyncio.Queue(1024) for _ in range(HOPS)]

    async def relay(taken: asyncio.Queue[dict[str, int] | None], given: int) -> None:
        while (event := await taken.get()) is not None:
            if given < HOPS:
                await links[given].put(event)
        if given < HOPS:
            await links[given].put(None)

    start = time.perf_counter_ns()
    async with asyncio.TaskGroup() as group:
        for index, link in enumerate(links):
            group.create_task(relay(link, index + 1))
        for number in range(events):
            await links[0].put({"pid": number, "cgroup": 1, "bytes": 100})
        await links[0].put(None)
    return (time.perf_counter_ns() - start) / events
