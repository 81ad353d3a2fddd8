"""``SystemClock``: the real time."""

from __future__ import annotations

import time


class SystemClock:
    """The Clock of every pipeline outside of tests."""

    def time_ns(self) -> int:
        """Wall clock, ns since 1970."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds that only grow; the same base as the loop's time."""
        return time.monotonic()
