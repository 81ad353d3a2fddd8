"""A source, a step and a sink that cost next to nothing: what is measured is what lies between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from tapio import (
    Batch,
    Context,
    Delivery,
    EndOfStream,
    Field,
    Read,
    Schema,
    Sink,
    Source,
    Step,
    Ticket,
    Transform,
    Write,
)

RECORD = Schema.of(
    "bench.record", Field("pid", "uint32"), Field("cgroup", "uint64"), Field("bytes", "uint64")
)
"""41 bytes a row: three common columns and three of an event's own."""

CATCH_UP_S = 0.05


class Feed(Source, frozen=True, tag="feed"):
    """``batches`` batches of ``rows`` rows; the same columns over and over, views of one block.

    ``per_s`` > 0 spreads them over time, else they come as fast as they are taken.
    """

    batches: int
    rows: int = 4096
    per_s: float = 0

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """Open it."""
        made, left, loop = self.block(cx.clock.time_ns()), self.batches, asyncio.get_running_loop()
        start = loop.time()

        async def read() -> Delivery:
            nonlocal left
            if left == 0 or cx.stopping.is_set():
                raise EndOfStream
            if self.per_s:
                due = start + (self.batches - left) * self.rows / self.per_s
                if (early := due - loop.time()) > 0:
                    await asyncio.sleep(early)
            left -= 1
            if self.per_s:  # latency is looked at: the rows are new
                return Delivery(self.block(cx.clock.time_ns()), Ticket())
            return Delivery(made.slice(0, self.rows), Ticket())

        yield read

    def block(self, now_ns: int) -> Batch:
        """One batch of this source, of events at ``now_ns``."""
        rows = np.arange(self.rows, dtype=np.uint64)
        return Batch(
            RECORD,
            {
                "time_ns": np.full(self.rows, now_ns),
                "seq": rows,
                "severity": np.full(self.rows, 9, np.uint8),
                "pid": rows.astype(np.uint32),
                "cgroup": rows % np.uint64(300),
                "bytes": rows * np.uint64(100),
            },
        )


class Same(Step, frozen=True, tag="same"):
    """Lets every batch through as it is."""

    def start(self, cx: Context) -> Transform:
        """Start it."""
        return lambda batch: batch


class Blackhole(Sink, frozen=True, tag="blackhole"):
    """Takes everything at once; ``per_s`` > 0 takes that many rows a second, no more.

    A sleep that comes back late is made up for by the next ones, up to ``CATCH_UP_S``.
    """

    per_s: float = 0

    @asynccontextmanager
    async def open(self, cx: Context | None) -> AsyncIterator[Write]:
        """Open it."""
        loop = asyncio.get_running_loop()
        free = loop.time()

        async def write(batch: Batch) -> None:
            nonlocal free
            if self.per_s:
                free = max(free, loop.time() - CATCH_UP_S) + batch.rows / self.per_s
                await asyncio.sleep(max(0, free - loop.time()))

        yield write
