"""The ring by libbpf's own consumer, one callback a record: right on every machine, and slow.

Reading the mapped ring (``ring``) needs loads that keep their order, which x86-64 gives and
Python cannot ask for elsewhere. A callback costs some 500 ns, the mapped ring 4.
"""

from __future__ import annotations

import ctypes as c
import os
import platform
from types import TracebackType
from typing import Any, Self

import numpy as np

from tapio.kernel.libbpf import check, library, pointer
from tapio.kernel.ring import Drain, Mapped

_FULL = -11  # -EAGAIN: libbpf stops consuming at a negative answer, behind that record
_CALLBACK = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_size_t)


def is_needed() -> bool:
    """Whether this machine needs it, or ``TAPIO_RING=libbpf`` asks for it."""
    return platform.machine() != "x86_64" or os.environ.get("TAPIO_RING") == "libbpf"


class Consumer:
    """Reads the rows of one record type out of a ring, as ``Ring`` does."""

    def __init__(self, fd: int, size: int, dtype: np.dtype[Any]) -> None:
        """Consume the ring map ``fd`` of ``size`` bytes. Raises KernelError."""
        self.dtype = dtype
        self._taken = bytearray()
        self._malformed = 0
        self._most = 0
        self._positions = Mapped(fd, size)
        self._callback = _CALLBACK(self._record)
        sentence = "libbpf cannot consume the ring"
        self._handle = pointer(
            library().ring_buffer__new(fd, c.cast(self._callback, c.c_void_p), None, None), sentence
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        library().ring_buffer__free(self._handle)
        self._positions.close()

    @property
    def unread(self) -> int:
        """Bytes that wait, as of a moment ago."""
        return int(self._positions.producer[0] - self._positions.consumer[0])

    def drain(self, most: int) -> Drain:
        """At most ``most`` rows; what it returns has left the ring."""
        self._taken, self._malformed, self._most = bytearray(), 0, most
        done = library().ring_buffer__consume(self._handle)
        if done != _FULL:
            check(done, "libbpf cannot read the ring")
        return Drain(np.frombuffer(self._taken, self.dtype), self._malformed)

    def _record(self, context: int, data: int, size: int) -> int:
        if size == self.dtype.itemsize:
            self._taken += c.string_at(data, size)
        else:
            self._malformed += 1
        self._most -= 1
        return 0 if self._most > 0 else _FULL
