"""Waits, rates, memory and latency: figures that other parts act on."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from tapio.engine.latency import Latency
from tapio.engine.limits import MemoryGauge, Throttle
from tapio.engine.retry import wait_s
from tapio.model.batch import Batch
from tapio.model.policy import Memory, Rate, Retry
from tapio.model.schema import TIME
from tests.engine.rows import batch


def test_waits_double_up_to_their_bound() -> None:
    """Rule 11: full jitter: uniform from 0 to a bound that doubles and then stays."""
    policy, random = Retry(initial_s=0.5, max_s=30), Random(1)
    for attempt, bound in [(1, 0.5), (2, 1), (3, 2), (6, 16), (7, 30), (1000, 30), (10**6, 30)]:
        waits = [wait_s(policy, attempt, None, random) for _ in range(500)]
        assert 0 <= min(waits) < 0.05 * bound
        assert 0.95 * bound < max(waits) <= bound
        assert np.mean(waits) == pytest.approx(bound / 2, rel=0.1)


def test_a_rate_is_paid_before_the_next_batch() -> None:
    """Rule 19: the first batch goes at once; what it costs is waited for by the next."""
    throttle = Throttle(Rate(rows_per_s=10, bytes_per_s=1000), 0.0)
    assert throttle.spend(20, 100, 0.0) == 0
    assert throttle.spend(1, 5000, 0.0) == 2
    assert throttle.spend(1, 1, 6.0) == 1
    assert throttle.spend(1, 1, 100.0) == 0
    assert Throttle(Rate(), 0.0).spend(10**9, 10**12, 0.0) == 0


def test_a_buffer_is_charged_once_whoever_shares_it() -> None:
    """Rule 19: slices and copies of references cost nothing, and a view costs its whole base."""
    whole = batch(1000)
    size = sum(whole.buffers().values())
    held: list[Batch] = [whole, whole.slice(0, 500), whole.slice(500, 500), whole.without(["n"])]
    gauge = MemoryGauge(Memory(soft=size, hard=2 * size), lambda: held)
    gauge.look()
    assert gauge.bytes == size
    assert not gauge.soft
    del held[0]
    gauge.look()
    assert gauge.bytes == size
    copy = whole.take(np.arange(1000))
    held.append(copy)
    gauge.look()
    assert gauge.bytes == size + sum(copy.buffers().values())
    assert gauge.soft
    gauge.add(whole)
    assert gauge.hard


def late(rows: int, seconds: float) -> Batch:
    """``rows`` rows whose event is so many seconds before time 10¹⁸ ns."""
    return batch(rows).with_columns({TIME: np.full(rows, 10**18 - int(seconds * 1e9))})


def test_latency_quantiles() -> None:
    """Quantiles are within a bin of 9 %; what lies ahead of the clock took no time."""
    latency = Latency()
    assert (latency.count, latency.quantile(0.5)) == (0, 0.0)
    latency.add(late(900, 0.010), 10**18)
    latency.add(late(100, 2.0), 10**18)
    assert latency.count == 1000
    assert latency.quantile(0.5) == pytest.approx(0.010, rel=0.09)
    assert latency.quantile(0.99) == pytest.approx(2.0, rel=0.09)
    ahead = Latency()
    ahead.add(late(10, -1e6), 10**18)
    assert ahead.quantile(0.99) < 1e-5


@pytest.mark.parametrize("time", [-(2**63), 2**63 - 1, 0])
def test_absurd_times_are_counted(time: int) -> None:
    """Any event time is a number in the histogram, not an error."""
    latency = Latency()
    latency.add(batch(3).with_columns({TIME: np.full(3, time)}), 10**18)
    assert latency.count == 3
