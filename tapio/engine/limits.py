"""Limits: memory of all batches together, and a sink's rate (rule 19)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tapio.model.batch import Batch
from tapio.model.policy import Memory, Rate


class MemoryGauge:
    """Bytes of batch buffers, each buffer counted once whoever shares it.

    Looking at all buffers costs some µs a batch, so it is done at ticks; in between, what is
    taken is added by its estimated size: the gauge never reads less than there is by more
    than one tick's transforms.
    """

    def __init__(self, policy: Memory, batches: Callable[[], Iterable[Batch]]) -> None:
        self.policy = policy
        self.bytes = 0
        self._batches = batches

    def add(self, batch: Batch) -> None:
        """Count a batch that was just taken."""
        self.bytes += batch.size

    def look(self) -> None:
        """Measure afresh."""
        buffers: dict[int, int] = {}
        for batch in self._batches():
            buffers.update(batch.buffers())
        self.bytes = sum(buffers.values())

    @property
    def soft(self) -> bool:
        """Above the soft limit: sources stop reading."""
        return self.bytes > self.policy.soft

    @property
    def hard(self) -> bool:
        """Above the hard limit: rows are dropped."""
        return self.bytes > self.policy.hard


class Throttle:
    """Paces a sink: each batch pays for its rows and bytes before the next one goes.

    Time is an argument, in seconds.
    """

    def __init__(self, rate: Rate, now: float) -> None:
        self.rate = rate
        self._ready_at = now

    def spend(self, rows: int, size: int, now: float) -> float:
        """Seconds to wait before a batch of ``rows`` rows and ``size`` bytes may go."""
        cost = 0.0
        if self.rate.rows_per_s:
            cost = rows / self.rate.rows_per_s
        if self.rate.bytes_per_s:
            cost = max(cost, size / self.rate.bytes_per_s)
        start = max(self._ready_at, now)
        self._ready_at = start + cost
        return start - now
