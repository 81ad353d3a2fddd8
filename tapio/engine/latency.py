"""``Latency``: how long rows took from the event to the sink, as a log histogram."""

from __future__ import annotations

import numpy as np

from tapio.model.batch import Batch

_BINS = 320
_SAMPLE = 256
"""Rows of a batch that are looked at: a quantile of 256 is off by 3 % of rank (1σ), and all
4,096 of a batch would cost 45 µs, half of what the engine spends on it."""
_PER_OCTAVE = 8
"""Eight bins an octave from 1 µs on: a quantile is off by at most 4.5 %, and 2**40 µs fit."""


class Latency:
    """Quantiles of (delivery time − event time), from counts in fixed bins.

    Event times that lie ahead of the clock count as no time at all.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)

    def add(self, batch: Batch, now_ns: int) -> None:
        """Count a batch that was delivered at ``now_ns``, by an even sample of its rows."""
        stride = max(1, batch.rows // _SAMPLE)
        times = batch["time_ns"][::stride].astype(np.float64)
        micros = np.maximum((now_ns - times) / 1e3, 1.0)
        bins = np.minimum(np.log2(micros) * _PER_OCTAVE, _BINS - 1).astype(np.int64)
        self._counts += np.bincount(bins, minlength=_BINS) * stride

    @property
    def count(self) -> int:
        """Rows counted."""
        return int(self._counts.sum())

    def quantile(self, share: float) -> float:
        """Seconds below which ``share`` of the rows were; 0 where there are none."""
        total = self.count
        if total == 0:
            return 0.0
        bin = int(np.searchsorted(np.cumsum(self._counts), share * total))
        return float(2.0 ** ((bin + 0.5) / _PER_OCTAVE) / 1e6)
