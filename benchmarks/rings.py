r"""Rings filled without a kernel: rows that travel the very path of an observer's own.

    ring = filled("process.exec", 4096, cgroups=ids, argv=[b"/bin/sh\0-c\0true\0", ...])
    batch = ring.topic.take(cx)     # header scan, copy to a slab, dtype view, columns, Batch
    ring.rewind()                   # the same records are unread again

``topic`` is what ``Process().open(cx)`` gives its reader; a ``Reader`` may be made of it too:
``Reader(cx, [ring.topic], asyncio.Event(), lambda: None).read``. With ``cx.stopping`` set it
drains what there is and ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tapio.codec import ringbuf
from tapio.codec.btf import Btf
from tapio.kernel.object import Object
from tapio.kernel.reader import Topic
from tapio.kernel.ring import Ring, Slabs
from tapio.observers import process

NS = 1_000_000_000
BOOT_TO_WALL = 1_700_000_000 * NS


class Plain:
    """A ring in plain memory, in the form that the kernel maps: the data lie there twice."""

    def __init__(self, size: int) -> None:
        """``size`` bytes, a power of two; empty."""
        self._positions = np.zeros(2, np.uint64)
        self.consumer = self._positions.data[:1]
        self.producer = self._positions.data[1:]
        self.data: ringbuf.Bytes = np.zeros(2 * size, np.uint8)

    def write(self, records: npt.NDArray[Any]) -> None:
        """Commit ``records`` (of one dtype); they must fit behind what is unread."""
        size, step = len(self.data) // 2, ringbuf.stride(records.dtype.itemsize)
        whole = np.zeros((len(records), step), np.uint8)
        whole[:, :4] = np.frombuffer(np.uint32(records.dtype.itemsize).tobytes(), np.uint8)
        body = np.ascontiguousarray(records).view(np.uint8)
        length = records.dtype.itemsize
        whole[:, ringbuf.HEADER : ringbuf.HEADER + length] = body.reshape(len(records), length)
        unread = self.producer[0] - self.consumer[0]
        if unread + whole.size > size:
            raise ValueError(f"{whole.size} bytes do not fit into a ring of {size}")
        at = (np.arange(whole.size) + self.producer[0]) & (size - 1)
        self.data[at] = self.data[at + size] = whole.ravel()
        self.producer[0] += whole.size

    def close(self) -> None:
        """Nothing is to be unmapped."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A topic whose ring holds ``rows`` unread records."""

    topic: Topic
    memory: Plain
    rows: int

    def rewind(self) -> None:
        """Make all the records unread again."""
        self.memory.consumer[0] = 0


def filled(
    name: str,
    rows: int,
    *,
    cgroups: Sequence[int],
    argv: Sequence[bytes] = (b"/usr/bin/true\0",),
    comms: int = 50,
    seed: int = 1,
) -> Filled:
    """``rows`` records of ``process.exec`` or ``process.exit`` in a ring that just holds them.

    Each record draws its cgroup id, its command line (NUL behind each argument) and one of
    ``comms`` names; 1 of 20 exits has a code. Times are 10 µs apart. The same seed gives the
    same bytes.
    """
    with Object.open(process.OBJECT) as object:
        topics = process.wanted(Btf(object.btf), lambda: BOOT_TO_WALL)
    wanted = next(t for t in topics if t.schema.topic == name)
    records = _records(wanted.dtype, rows, cgroups, argv, comms, np.random.default_rng(seed))
    step = ringbuf.stride(wanted.dtype.itemsize)
    memory = Plain(1 << (rows * step - 1).bit_length())
    memory.write(records)
    ring = Ring(memory, wanted.dtype, Slabs())
    return Filled(Topic(wanted.schema, ring, wanted.make, 1), memory, rows)


def _records(
    dtype: np.dtype[Any],
    rows: int,
    cgroups: Sequence[int],
    argv: Sequence[bytes],
    comms: int,
    random: np.random.Generator,
) -> npt.NDArray[Any]:
    made: npt.NDArray[Any] = np.zeros(rows, dtype)
    names = random.integers(0, comms, rows)
    made["boot_ns"] = 1000 * NS + np.arange(rows, dtype=np.uint64) * 10_000
    made["start_ns"] = made["boot_ns"] - random.integers(0, NS, rows).astype(np.uint64)
    made["cgroup_id"] = random.choice(np.asarray(cgroups, np.uint64), rows)
    made["pid"] = random.integers(2, 1 << 22, rows)
    made["parent_pid"] = random.integers(2, 1 << 22, rows)
    made["generation"] = made["sample_n"] = 1
    made["severity"] = 9
    made["comm"] = np.array([f"program-{n}"[:15] for n in range(comms)], "S16")[names]
    if "argv" in (dtype.names or ()):
        _say_exec(made, names, argv, random)
    else:
        failed = random.random(rows) < 0.05
        made["exit_code"], made["severity"] = failed, np.where(failed, 13, 9)
        made["cpu_ns"] = random.integers(0, NS, rows)
        made["peak_rss_pages"] = random.integers(1, 1 << 18, rows)
    return made


def _say_exec(
    made: npt.NDArray[Any],
    names: npt.NDArray[Any],
    argv: Sequence[bytes],
    random: np.random.Generator,
) -> None:
    chosen = random.integers(0, len(argv), len(made))
    lengths = np.array([len(line) for line in argv])[chosen]
    made["argv"] = np.array(argv, made.dtype["argv"])[chosen]
    made["argv_bytes"] = lengths
    made["argv_kept"] = np.minimum(lengths, made.dtype["argv"].itemsize)
    files = [f"/usr/bin/program-{n}" for n in range(int(names.max(initial=0)) + 1)]
    made["file"] = np.array(files, made.dtype["file"])[names]
    made["file_kept"] = np.array([len(f) for f in files])[names]
