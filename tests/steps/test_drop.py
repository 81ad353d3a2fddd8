"""Which columns ``drop`` removes."""

from __future__ import annotations

import msgspec
import pytest

from tapio.model.errors import SchemaError
from tapio.steps.drop import Drop
from tests.batches import counting
from tests.sample.context import context


def test_removes_columns_only() -> None:
    """The columns go and the rows stay; a topic without them passes as it is."""
    drop = Drop(("argv",)).start(context())
    without = drop(counting("a.b", 3, argv=["x", "y", "z"]))
    assert list(without) == ["time_ns", "seq", "severity", "n"]
    assert without["n"].tolist() == [0, 1, 2]
    assert drop(without) is without


def test_a_named_topic_must_have_the_column() -> None:
    """With ``topic`` others pass untouched, and a column that is not there is an error."""
    drop = Drop(("absent",), topic=("a",)).start(context())
    other = counting("b.c", 1)
    assert drop(other) is other
    with pytest.raises(SchemaError, match=r"no column 'absent'; it has time_ns"):
        drop(counting("a.b", 1))


@pytest.mark.parametrize("name", ["time_ns", "seq", "severity", "weight"])
def test_what_the_pipeline_needs_stays(name) -> None:
    """The common columns cannot go, and neither can the weights."""
    with pytest.raises(msgspec.ValidationError, match=f"'{name}' cannot be dropped"):
        msgspec.convert({"type": "drop", "columns": ["n", name]}, Drop)
