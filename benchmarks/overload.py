"""Twice what the sink takes, for 60 s. Goals: sink_share ≥ 0.95, pss_slope < 1 MiB/min.

``sink_share`` is what the sink got of its own limit, which is measured first, without a
pipeline. ``dropped_share`` is what the channel dropped, counted, of the rows taken: about half.
A ledger out of balance, or a row that it does not know of, is a failure.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.feed import Blackhole, Feed
from benchmarks.result import Failed, Result
from tapio.engine.run import Engine
from tapio.model.plan import Plan
from tapio.model.policy import Settings

LIMIT_PER_S = 1_000_000
ROWS = 4096
SETTLED = 0.25
"""The part of the run after which memory must not grow: channels are full by then."""


def run(*, quick: bool = False) -> Iterable[Result]:
    """Share of the sink's limit, share dropped, and how memory grew."""
    limit = asyncio.run(alone(1 if quick else 5))
    return asyncio.run(overloaded(4 if quick else 60, limit))


async def alone(seconds: float) -> float:
    """Rows a second that the sink takes where nothing stands before it."""
    block = Feed(1, rows=ROWS).block(0)
    loop = asyncio.get_running_loop()
    async with Blackhole(per_s=LIMIT_PER_S).open(None) as write:
        start, rows = loop.time(), 0
        while loop.time() - start < seconds:
            await write(block)
            rows += block.rows
        return rows / (loop.time() - start)


async def overloaded(seconds: float, limit: float) -> Iterable[Result]:
    """Run the pipeline, look at it each half second, and account for each row."""
    feed = Feed(int(2 * limit * seconds / ROWS), rows=ROWS, per_s=2 * limit)
    looks: list[tuple[float, float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        sink = Blackhole(per_s=LIMIT_PER_S, max_rows=ROWS)
        engine = Engine(Plan("overload", (feed,), (), (sink,), Settings(state_dir=folder)))
        async with asyncio.timeout(3 * seconds + 30), asyncio.TaskGroup() as group:
            watch = group.create_task(look(engine, looks))
            await engine.run()
            watch.cancel()
    said = engine.status()
    account = said["sinks"]["blackhole"]["sources"]["feed"]
    taken, dropped = said["sources"]["feed"]["taken"], sum(account["dropped"].values())
    if said["imbalance"] or account["delivered"] + dropped != taken:
        raise Failed(f"{taken} rows taken, but the ledger says {account}")
    return [
        Result("overload", "sink_share", sink_rate(looks) / limit, "of its limit"),
        Result("overload", "dropped_share", dropped / taken, "of rows taken"),
        Result("overload", "pss_slope", pss_slope(looks), "MiB/min"),
    ]


async def look(engine: Engine, looks: list[tuple[float, float, int]]) -> None:
    """Note (time, PSS in MiB, rows delivered) until it is cancelled."""
    while True:
        await asyncio.sleep(0.5)
        looks.append((time.monotonic(), pss_mib(), delivered(engine.status())))


def delivered(status: dict[str, Any]) -> int:
    """Rows that the sink has got."""
    account = status["sinks"].get("blackhole", {"sources": {}})["sources"].get("feed")
    return account["delivered"] if account else 0


def settled(looks: list[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """The looks after the start and before the drain."""
    return looks[int(len(looks) * SETTLED) : -1]


def sink_rate(looks: list[tuple[float, float, int]]) -> float:
    """Rows a second that the sink got between the first and the last settled look."""
    first, last = settled(looks)[0], settled(looks)[-1]
    return (last[2] - first[2]) / (last[0] - first[0])


def pss_slope(looks: list[tuple[float, float, int]]) -> float:
    """MiB a minute, the least-squares line through the settled looks."""
    times, sizes = np.array([(t / 60, pss) for t, pss, _ in settled(looks)]).T
    return float(np.polynomial.polynomial.polyfit(times - times[0], sizes, 1)[1])


def pss_mib() -> float:
    """This process's proportional set size."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.findall(r"^Pss: +(\d+)", text, re.MULTILINE)[0]) / 1024
