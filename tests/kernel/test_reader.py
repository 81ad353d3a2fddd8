"""The reader on rings in plain memory: turns, ends, and its share of the loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks.rings import Plain
from tapio.kernel import reader
from tapio.kernel.reader import Made, Reader, Topic
from tapio.kernel.ring import Ring, Slabs
from tapio.model.errors import EndOfStream
from tapio.model.schema import Field, Schema
from tapio.model.stage import Context
from tapio.model.ticket import Outcome
from tests.contexts import context

ROW = np.dtype([("n", "<u8")])


def made(rows: Any) -> Made:
    """The columns of a row that is one number."""
    common = {"time_ns": rows["n"].astype(np.int64), "severity": np.full(len(rows), 9, np.uint8)}
    return Made({"n": rows["n"], **common}, 0)


class Rings:
    """Topics ``t.a``, ``t.b`` … with a ring each, and a reader of them."""

    def __init__(self, cx: Context, count: int = 1, threshold: int = 1 << 20) -> None:
        self.memories = [Plain(1 << 16) for _ in range(count)]
        self.topics = [
            Topic(Schema.of(f"t.{chr(97 + i)}", Field("n", "uint64")), Ring(m, ROW, Slabs()), made,
                  threshold)
            for i, m in enumerate(self.memories)
        ]  # fmt: skip
        self.wakeup = asyncio.Event()
        self.detached = 0
        self.read = Reader(cx, self.topics, self.wakeup, self._detach).read

    def _detach(self) -> None:
        self.detached += 1

    def fill(self, ring: int, numbers: Sequence[int]) -> None:
        """Commit a row for each number."""
        rows = np.zeros(len(numbers), ROW)
        rows["n"] = numbers
        self.memories[ring].write(rows)

    async def take(self) -> tuple[str, list[int]]:
        """One read: its topic and numbers."""
        batch, ticket = await self.read()
        ticket.settle(Outcome.DONE)
        return batch.topic, batch["n"].tolist()


async def test_rings_take_turns() -> None:
    """A ring that is always full does not keep the others waiting."""
    rings = Rings(context(), 3, threshold=16)
    seen = []
    for turn in range(9):
        for ring in range(3):
            rings.fill(ring, [turn])
        seen.append((await rings.take())[0])
    assert sorted(seen) == ["t.a"] * 3 + ["t.b"] * 3 + ["t.c"] * 3


async def test_a_few_rows_wait_until_it_is_time_to_look() -> None:
    """Below the threshold rows gather for 50 ms; then each ring is taken once."""
    rings = Rings(context(), 2)
    for number in range(2):  # what is there at the start is taken at once
        rings.fill(0, [number])
        await rings.take()
    began = time.monotonic()
    rings.fill(0, [2])
    rings.fill(1, [3])
    asyncio.get_running_loop().call_later(0.01, rings.fill, 0, [4])
    got = [await rings.take(), await rings.take()]
    assert sorted(got) == [("t.a", [2, 4]), ("t.b", [3])]
    assert 0.03 < time.monotonic() - began < 1


async def test_at_the_threshold_nothing_waits() -> None:
    """A ring filled to its threshold is taken at once."""
    rings = Rings(context(), threshold=10 * 16)
    rings.fill(0, [0])
    await rings.take()
    rings.fill(0, range(10))
    began = time.monotonic()
    assert (await rings.take())[1] == list(range(10))
    assert time.monotonic() - began < 0.03


async def test_a_wakeup_takes_every_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel asks, all that is there is taken, however little."""
    monkeypatch.setattr(reader, "LOOK_EVERY_S", 60)
    rings = Rings(context(), 2)
    rings.fill(0, [0])
    await rings.take()
    rings.fill(1, [1])
    asyncio.get_running_loop().call_later(0.02, rings.wakeup.set)
    async with asyncio.timeout(1):
        assert await rings.take() == ("t.b", [1])


async def test_a_stop_detaches_once_then_drains_then_ends() -> None:
    """More than one drain's worth in each ring is given before EndOfStream, which then stays."""
    cx = context()
    rings = Rings(cx, 2)
    rings.fill(0, range(4000))
    rings.fill(1, range(4000))
    cx.stopping.set()  # type: ignore[attr-defined]
    reader.MOST_ROWS, most = 1500, reader.MOST_ROWS
    try:
        seen = [await rings.take() for _ in range(6)]
    finally:
        reader.MOST_ROWS = most
    assert sum(len(numbers) for _, numbers in seen) == 8000
    for _ in range(2):
        with pytest.raises(EndOfStream):
            await rings.read()
    assert rings.detached == 1


async def test_a_stop_is_heeded_though_rings_are_always_full() -> None:
    """The reader detaches at the next read, not when it first finds nothing."""
    cx = context()
    rings = Rings(cx, threshold=16)
    for turn in range(5):
        rings.fill(0, [turn])
        await rings.take()
    rings.fill(0, [5])
    cx.stopping.set()  # type: ignore[attr-defined]
    await rings.take()
    assert rings.detached == 1


async def test_a_reader_of_full_rings_leaves_the_loop_its_turns() -> None:
    """Somebody else's callbacks run while the reader never has to wait."""
    rings = Rings(context(), threshold=16)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(other())
        for turn in range(200):
            rings.fill(0, [turn])
            await rings.take()
        task.cancel()
    assert turns >= 200 // reader.YIELD_EVERY


async def test_rows_are_numbered_by_the_pipeline() -> None:
    """The sequence of a topic goes on over batches, and is the pipeline's own."""
    cx = context()
    cx.sequences.take("t.a", 10)
    rings = Rings(cx, threshold=16)
    rings.fill(0, range(3))
    batch, ticket = await rings.read()
    ticket.settle(Outcome.DONE)
    assert batch["seq"].tolist() == [10, 11, 12]
    assert cx.sequences.take("t.a", 1) == 13


async def test_discarded_records_are_counted_and_do_not_end_anything() -> None:
    """A ring that holds only discarded records is emptied; rows behind them still come."""
    cx = context()
    rings = Rings(cx)
    rings.fill(0, range(10))
    heads = rings.memories[0].data.view(np.uint32)
    heads[0 : 10 * 4 : 4] |= 1 << 30
    rings.fill(0, [99])
    cx.stopping.set()  # type: ignore[attr-defined]
    reader.MOST_ROWS, most = 4, reader.MOST_ROWS
    try:
        assert await rings.take() == ("t.a", [99])
    finally:
        reader.MOST_ROWS = most
    assert (rings.topics[0].taken, rings.topics[0].malformed) == (1, 10)
