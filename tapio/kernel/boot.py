"""Boot time → wall time: an offset that is measured again every 10 s.

Kernel records carry CLOCK_BOOTTIME, which does not jump; wall time does, when it is set.
"""

from __future__ import annotations

import time

from tapio.model.stage import Clock

MEASURED_EVERY_S = 10.0
"""A clock slewed at the kernel's most, 500 ppm, drifts 5 ms in this time."""

BOOTTIME, MONOTONIC = time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC


class Offset:
    """What to add to a kernel clock to get wall time in ns."""

    def __init__(self, clock: Clock, kernel: int = BOOTTIME) -> None:
        """``clock`` says the wall time, ``kernel`` is the clock that records carry."""
        self._clock = clock
        self._kernel = kernel
        self._due = clock.monotonic()
        self._ns = 0

    def ns(self) -> int:
        """The offset, at most 10 s old."""
        now = self._clock.monotonic()
        if now >= self._due:
            self._due = now + MEASURED_EVERY_S
            self._ns = self._measured()
        return self._ns

    def _measured(self) -> int:
        """Wall time against the middle of two readings around it."""
        before = time.clock_gettime_ns(self._kernel)
        wall = self._clock.time_ns()
        after = time.clock_gettime_ns(self._kernel)
        return wall - (before + after) // 2
