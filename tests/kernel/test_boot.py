"""Boot time → wall time."""

from __future__ import annotations

import time

from tapio.kernel.boot import MEASURED_EVERY_S, MONOTONIC, Offset
from tests.contexts import HandClock


def test_the_offset_makes_wall_time() -> None:
    """Boot time plus offset is what the wall clock says; so it is for the other clock."""
    for kernel in (time.CLOCK_BOOTTIME, MONOTONIC):
        clock = HandClock()
        clock.time_ns = time.time_ns  # type: ignore[method-assign]
        wall = time.clock_gettime_ns(kernel) + Offset(clock, kernel).ns()
        assert abs(wall - time.time_ns()) < 5_000_000


def test_it_is_measured_again_every_ten_seconds() -> None:
    """A wall clock that was set is followed within ten seconds, and not asked in between."""
    clock = HandClock()
    offset = Offset(clock)
    first = offset.ns()
    clock.start_ns += 3_600_000_000_000
    clock.now += MEASURED_EVERY_S - 0.001
    assert offset.ns() == first
    clock.now += 0.002
    assert abs(offset.ns() - first - 3_610_000_000_000) < 1_000_000_000
