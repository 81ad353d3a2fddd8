"""One ring buffer of the kernel, mapped; a drain is one copy into a pooled slab.

Rule: only this file reads or stores a ring's positions. Loads and stores of 8 aligned bytes
are single instructions in CPython and numpy, and x86-64 keeps their order: the producer's
position is read before the headers in front of it, headers before payload, and all of it before
the consumer's position is stored.
"""

from __future__ import annotations

import mmap
import sys
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from tapio.codec import ringbuf
from tapio.codec.ringbuf import Bytes

SLAB_MIN = 1 << 12
POOL_MAX = 8 << 20
"""The most bytes of slabs that a pool remembers; those beyond are given back to the allocator."""


class Slabs:
    """Memory that drains are copied to, by size class (powers of two, so at most half is air).

    A slab is taken again when its last view has died, which its reference count says: numpy
    lets each view hold the array that owns the memory.
    """

    def __init__(self) -> None:
        self._known: dict[int, list[Bytes]] = {}
        self._bytes = 0

    def take(self, size: int) -> Bytes:
        """A view of ``size`` bytes of a slab that nobody else sees."""
        order = max(SLAB_MIN, 1 << (size - 1).bit_length())
        slabs = self._known.setdefault(order, [])
        for slab in slabs:
            if sys.getrefcount(slab) == 3:  # the list's, this loop's, the argument's
                return slab[:size]
        slab = np.empty(order, np.uint8)
        if self._bytes + order <= POOL_MAX:
            self._bytes += order
            slabs.append(slab)
        return slab[:size]


class Drain(NamedTuple):
    """Records taken from a ring: rows of one dtype (read-only), and how many were no rows."""

    rows: npt.NDArray[Any]
    malformed: int


class Memory(Protocol):
    """Where a ring lies: two positions, and the data mapped twice in a row."""

    consumer: memoryview
    """One uint64 that the reader stores."""
    producer: memoryview
    """One uint64 that the kernel stores."""
    data: Bytes

    def close(self) -> None:
        """Unmap it."""
        ...


class Mapped:
    """The memory of the kernel's ring ``fd`` of ``size`` bytes."""

    def __init__(self, fd: int, size: int) -> None:
        """Map it: the consumer's page for writing, then producer's page and data for reading."""
        page = mmap.PAGESIZE
        self._maps = [
            mmap.mmap(fd, page),
            mmap.mmap(fd, page + 2 * size, prot=mmap.PROT_READ, offset=page),
        ]
        self.consumer = memoryview(self._maps[0])[:8].cast("Q")
        self.producer = memoryview(self._maps[1])[:8].cast("Q")
        self.data: Bytes = np.frombuffer(self._maps[1], np.uint8, 2 * size, page)

    def close(self) -> None:
        """Unmap it; nothing that a drain gave points into it."""
        self.consumer.release()
        self.producer.release()
        del self.data
        for mapped in self._maps:
            mapped.close()


class Ring:
    """Reads the rows of one record type out of a ring."""

    def __init__(self, memory: Memory, dtype: np.dtype[Any], slabs: Slabs) -> None:
        """Drain ``memory`` as rows of ``dtype``, copied to ``slabs``."""
        self.dtype = dtype
        self._memory = memory
        self._slabs = slabs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._memory.close()

    @property
    def unread(self) -> int:
        """Bytes that wait, those of records still being written included."""
        return int(self._memory.producer[0] - self._memory.consumer[0])

    def drain(self, most: int) -> Drain:
        """At most ``most`` rows; what it returns has left the ring.

        Raises DecodeError where the memory is not a ring's.
        """
        memory = self._memory
        consumer = memory.consumer[0]
        found = ringbuf.span(memory.data, consumer, memory.producer[0], self.dtype.itemsize, most)
        taken = self._slabs.take(found.bytes)
        start = consumer & (len(memory.data) // 2 - 1)
        taken[:] = memory.data[start : start + found.bytes]
        memory.consumer[0] = consumer + found.bytes
        return Drain(*ringbuf.rows(taken, found, self.dtype))
