"""Which rows ``filter`` keeps."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio.model.when import When
from tapio.steps.filter import Filter
from tests.batches import batches, counting, rows_of
from tests.sample.context import context


def test_keeps_and_drops() -> None:
    """A row stays where ``keep`` chooses it and ``drop`` does not."""
    spec = Filter(keep=When(field="n", ge=2), drop=When(field="n", in_=(3, 5)))
    kept = spec.start(context())(counting("a.b", 7))
    assert kept["n"].tolist() == [2, 4, 6]


def test_all_kept_is_the_very_batch() -> None:
    """Where all rows stay nothing is copied."""
    batch = counting("a.b", 3)
    assert Filter(keep=When(topic=("a",))).start(context())(batch) is batch


def test_a_missing_column_chooses_nothing() -> None:
    """``keep`` on a column that is not there removes all rows, ``drop`` none."""
    batch = counting("a.b", 3)
    absent = When(field="absent", eq=1)
    assert Filter(keep=absent).start(context())(batch).rows == 0
    assert Filter(drop=absent).start(context())(batch).rows == 3


@settings(deadline=None)
@given(batches(), st.integers(0, 24))
def test_nothing_is_lost_between_keep_and_drop(batch, severity) -> None:
    """A condition and its complement part the rows, in their order and unchanged."""
    when = When(severity=severity)
    kept = rows_of(Filter(keep=when).start(context())(batch))
    others = rows_of(Filter(drop=when).start(context())(batch))
    chosen = np.asarray(batch["severity"] >= severity)
    rows = rows_of(batch)
    assert kept == [row for row, yes in zip(rows, chosen, strict=True) if yes]
    assert others == [row for row, yes in zip(rows, chosen, strict=True) if not yes]


def test_needs_a_condition() -> None:
    """Neither ``keep`` nor ``drop`` is an error of the configuration."""
    with pytest.raises(msgspec.ValidationError, match="needs keep, drop"):
        msgspec.convert({"type": "filter"}, Filter)
    assert msgspec.convert({"type": "filter", "drop": {"severity": 17}}, Filter).drop == When(
        severity=17
    )
