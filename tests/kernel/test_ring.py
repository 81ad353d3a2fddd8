"""A mapped ring and the memory that drains are copied to."""

from __future__ import annotations

import gc

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.rings import Plain
from tapio.kernel import ring
from tapio.kernel.ring import Ring, Slabs
from tapio.model.errors import DecodeError

ROW = np.dtype([("n", "<u8"), ("m", "<u4")])


def numbered(start: int, count: int) -> np.ndarray:
    """Rows that count from ``start``."""
    rows = np.zeros(count, ROW)
    rows["n"] = np.arange(start, start + count)
    return rows


def test_rows_come_once_and_in_order_however_the_ring_turns() -> None:
    """Many small drains of a small ring, which wraps at every place."""
    memory = Plain(1 << 12)
    reader = Ring(memory, ROW, Slabs())
    random = np.random.default_rng(1)
    seen: list[int] = []
    made = 0
    for _ in range(500):
        count = int(random.integers(0, ((1 << 12) - reader.unread) // 24 + 1))
        memory.write(numbered(made, count))
        made += count
        seen += reader.drain(int(random.integers(0, 200))).rows["n"].tolist()
    seen += reader.drain(1000).rows["n"].tolist()
    assert seen == list(range(made))
    assert reader.unread == 0


def test_rows_stay_what_they_were_when_the_ring_goes_on() -> None:
    """What a drain gave is the reader's own, whatever the producer writes over it."""
    memory = Plain(1 << 12)
    reader = Ring(memory, ROW, Slabs())
    kept = []
    for turn in range(50):
        memory.write(numbered(turn * 100, 100))
        kept.append(reader.drain(1000).rows)
    assert [int(rows["n"][0]) for rows in kept] == [turn * 100 for turn in range(50)]


def test_a_ring_that_is_none_is_refused() -> None:
    """Positions that cannot be are an error, and nothing is taken."""
    memory = Plain(1 << 12)
    memory.producer[0] = 1 << 40
    with pytest.raises(DecodeError):
        Ring(memory, ROW, Slabs()).drain(10)
    assert memory.consumer[0] == 0


def test_a_slab_is_taken_again_when_its_last_view_has_died() -> None:
    """Not while a column, a slice of one, or an Arrow array over it lives."""
    slabs = Slabs()
    first = slabs.take(1000)
    address = first.__array_interface__["data"][0]
    column = first.view(np.uint64)[::2]
    arrow = pa.Array.from_buffers(pa.uint8(), 10, [None, pa.py_buffer(first[:10])])
    del first
    assert slabs.take(1000).__array_interface__["data"][0] != address
    part = column[3:4]
    del column
    assert slabs.take(1000).__array_interface__["data"][0] != address
    del part
    assert slabs.take(1000).__array_interface__["data"][0] != address
    del arrow
    gc.collect()
    taken = [slabs.take(1000) for _ in range(2)]
    assert address in {slab.__array_interface__["data"][0] for slab in taken}


def test_slabs_are_at_most_twice_what_is_asked_for() -> None:
    """A small drain does not keep a large slab alive."""
    slabs = Slabs()
    for size in (1, 4096, 4097, 100_000, 1 << 20):
        base = slabs.take(size).base
        assert base is not None
        assert len(base) < 2 * max(size, ring.SLAB_MIN)


def test_a_pool_remembers_a_bounded_number_of_bytes() -> None:
    """Slabs beyond the bound are given, and forgotten."""
    slabs = Slabs()
    held = [slabs.take(1 << 20) for _ in range(20)]
    remembered = sum(len(slab) for known in slabs._known.values() for slab in known)
    assert remembered <= ring.POOL_MAX
    assert len({slab.__array_interface__["data"][0] for slab in held}) == 20
