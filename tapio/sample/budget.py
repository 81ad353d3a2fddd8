"""How much may be kept, and how it is shared: max-min fair levels, and a leaking bucket."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_HIGH, _LOW = 0.8, 0.5
"""Pressure above the first halves the target each second, below the second it comes back."""

_LEAST_PACE = 1 / 64
"""How far pressure brings the target down."""

_LEAST_PULL = 0.1
"""What is aimed at when the budget is overdrawn, as a part of the target; never nothing."""


def fair_level(demands: npt.NDArray[np.float64], budget: float) -> float:
    """The level at which Σ min(demand, level) = ``budget``; infinite where all demands fit.

    Max-min fairness by water-filling: who asks for less than the level gets all of it, the
    others get the level, and no one's share can grow but at the cost of a smaller one.
    """
    if float(demands.sum()) <= budget:
        return float("inf")
    ordered = np.sort(demands)
    below = np.cumsum(ordered) - ordered
    levels = (budget - below) / np.arange(len(ordered), 0, -1)
    return float(levels[np.argmax(levels <= ordered)])


class Budget:
    """A bucket that fills at the target and holds ``window_s`` of it.

    What may be aimed at follows its filling: twice the target when it is full, the target when
    it is half full, ever less below. So any lasting error of the estimates, of whichever sign,
    moves the filling until what is kept meets the target.
    """

    def __init__(self, target_per_s: float, window_s: float, pressure: Callable[[], float]) -> None:
        self._rows_per_window = target_per_s * window_s
        self._window_s = window_s
        self._pressure = pressure
        self._pace = 1.0
        self._since_pace_s = float("inf")
        self.filling = 1.0

    def pass_time(self, seconds: float) -> None:
        """Let the bucket fill for ``seconds``, and the target follow the pressure."""
        self.filling = min(1.0, self.filling + seconds / self._window_s)
        self._since_pace_s += seconds
        if self._since_pace_s < 1.0:
            return
        pressure = self._pressure()
        if pressure > _HIGH:
            self._turn(max(_LEAST_PACE, self._pace / 2))
        elif pressure < _LOW:
            self._turn(min(1.0, self._pace * 2))

    def _turn(self, pace: float) -> None:
        if pace != self._pace:
            self._pace = pace
            self._since_pace_s = 0.0

    @property
    def per_s(self) -> float:
        """Rows a second to aim at now; > 0."""
        pull = max(_LEAST_PULL, 2 * self.filling)
        return pull * self._pace * self._rows_per_window / self._window_s

    @property
    def at_once(self) -> float:
        """Rows that one batch may take: half of what there is, for others may follow."""
        return max(0.0, self.filling / 2) * self._pace * self._rows_per_window

    def spend(self, rows: float) -> None:
        """Take ``rows`` out; overdrawn by a whole bucket at most."""
        self.filling = max(-1.0, self.filling - rows / (self._pace * self._rows_per_window))
