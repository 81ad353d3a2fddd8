"""What ``rename`` calls columns and attributes."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tapio.model.entities import EntityTable
from tapio.model.errors import SchemaError
from tapio.model.schema import ENTITY
from tapio.steps.rename import Rename
from tests.batches import counting
from tests.sample.context import context


def test_renames_in_place() -> None:
    """The column keeps its place, type and values, and takes its new name as attribute."""
    batch = counting("a.b", 2, argv=["x", "y"])
    renamed = Rename(columns={"n": "number"}).start(context())(batch)
    assert list(renamed) == ["time_ns", "seq", "severity", "number", "argv"]
    assert renamed["number"].tolist() == [0, 1]
    assert renamed.schema["number"].otel == "number"


def test_names_the_attribute() -> None:
    """An attribute is named by the column name that came in."""
    spec = Rename(columns={"argv": "command"}, attributes={"argv": "process.command_line"})
    renamed = spec.start(context())(counting("a.b", 1, argv=["x"]))
    assert renamed.schema["command"].otel == "process.command_line"


def test_two_may_swap() -> None:
    """All renaming happens at once."""
    spec = Rename(columns={"n": "argv", "argv": "n"})
    renamed = spec.start(context())(counting("a.b", 1, argv=["x"]))
    assert renamed["n"].to_pylist() == ["x"]
    assert renamed["argv"].tolist() == [0]


def test_entities_stay() -> None:
    """The entity table goes along."""
    table = EntityTable()
    table.add("k", {"container.id": "c"})
    batch = counting("a.b", 1).with_columns({ENTITY: np.zeros(1, np.int32)}, table)
    assert Rename(columns={"n": "m"}).start(context())(batch).entities is table


def test_a_topic_without_the_column_passes() -> None:
    """Without ``topic`` a missing column is passed by; with it, it is an error that says so."""
    batch = counting("a.b", 1)
    passed = Rename(columns={"absent": "x"}).start(context())(batch)
    assert passed.schema == batch.schema
    strict = Rename(columns={"absent": "x"}, topic=("a.b",)).start(context())
    with pytest.raises(SchemaError, match="no column 'absent'"):
        strict(batch)
    other = counting("c.d", 1)
    assert strict(other) is other


def test_a_taken_name_is_an_error() -> None:
    """Two columns of one name are refused in one sentence."""
    rename = Rename(columns={"n": "argv"}).start(context())
    with pytest.raises(SchemaError, match="has a column 'argv' already; drop it or rename it too"):
        rename(counting("a.b", 1, argv=["x"]))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "needs columns, attributes"),
        ({"columns": {"seq": "x"}}, "'seq' has a meaning"),
        ({"columns": {"x": "weight"}}, "'weight' has a meaning"),
        ({"attributes": {"entity": "x"}}, "'entity' has a meaning"),
        ({"columns": {"x": ""}}, "cannot be empty"),
    ],
)
def test_refuses(config, said) -> None:
    """A configuration that cannot work is refused before anything opens."""
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"type": "rename", **config}, Rename)
