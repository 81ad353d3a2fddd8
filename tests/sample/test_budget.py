"""Fair levels: the definition of max-min fairness, checked on any demands."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio.sample.budget import fair_level

demands = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30)


@settings(deadline=None)
@given(demands, st.floats(1e-3, 1e6))
def test_the_budget_is_used_and_no_more(asked, budget) -> None:
    """What is given adds up to the budget, or to all that was asked for."""
    asked = np.array(asked)
    level = fair_level(asked, budget)
    given_out = np.minimum(asked, level).sum()
    assert given_out == pytest.approx(min(budget, asked.sum()), rel=1e-6)
    assert math.isinf(level) == (asked.sum() <= budget)


@settings(deadline=None)
@given(demands, st.floats(1e-3, 1e6))
def test_nobody_has_more_than_somebody_who_was_cut(asked, budget) -> None:
    """Who does not get all has the level, and the level is the most that anybody has."""
    asked = np.array(asked)
    level = fair_level(asked, budget)
    shares = np.minimum(asked, level)
    cut = shares < asked
    if cut.any():
        assert shares[cut].min() == shares.max() == level


def test_known_cases() -> None:
    """Equal demands share equally; small ones are served first; nothing gives nothing."""
    assert fair_level(np.array([10.0, 10.0, 10.0]), 15) == 5
    assert fair_level(np.array([100.0, 1.0, 50.0]), 21) == 10
    assert fair_level(np.array([3.0, 4.0]), 0) == 0
    assert fair_level(np.array([]), 5) == math.inf
