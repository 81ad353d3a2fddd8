"""Schemas and fields: small values that say no to what no column can be."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.model.errors import ConfigError, SchemaError
from tapio.model.schema import COMMON, NUMBERS, SEQ, TEXT, Field, Schema, matches
from tests.batches import schemas


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers(kind: str) -> None:
    """Each number type is the numpy and the Arrow type of its name."""
    field = Field("x", kind)
    assert field.dtype == np.dtype(kind)
    assert field.arrow == pa.from_numpy_dtype(np.dtype(kind))


@pytest.mark.parametrize("kind", TEXT)
def test_texts(kind: str) -> None:
    """Text has no numpy type: it is Arrow's alone."""
    assert Field("x", kind).dtype is None
    assert Field("x", kind).arrow == TEXT[kind]


def test_an_unknown_type_is_refused() -> None:
    """The error names all types that there are."""
    with pytest.raises(SchemaError, match=r"'x' has type 'str'; use one of bool, .*, binary"):
        Field("x", "str")


def test_the_attribute_is_the_name_unless_it_is_said() -> None:
    """OpenTelemetry's name for a column."""
    assert Field("pid", "uint32").otel == "pid"
    assert Field("pid", "uint32", attribute="process.pid").otel == "process.pid"


@pytest.mark.parametrize("topic", ["a", "process.exec", "a_b.c1", "a.b.c"])
def test_topics(topic: str) -> None:
    """Lower-case words joined by dots."""
    assert Schema.of(topic).topic == topic


@pytest.mark.parametrize(
    "topic", ["", "A", "a.", ".a", "a..b", "a b", "1a", "a/b", "a\n", "é", "a-b"]
)
def test_what_is_no_topic(topic: str) -> None:
    """Nothing that a file's name or a subject could stumble over."""
    with pytest.raises(SchemaError, match="is not lower-case words"):
        Schema.of(topic)


def test_a_name_stands_once() -> None:
    """Two columns of one name are refused."""
    with pytest.raises(SchemaError, match="names a column twice"):
        Schema.of("a", Field("x", "int8"), Field("x", "int16"))


def test_common_columns_come_first() -> None:
    """``of`` adds them, and not a second time."""
    assert Schema.of("a", SEQ, Field("x", "int8")).fields == (*COMMON, Field("x", "int8"))


@given(schemas(), schemas())
def test_extending(schema: Schema, other: Schema) -> None:
    """Fields are added behind, or take the place of those of their name; twice is as once."""
    made = schema.extended(other.fields)
    assert [f.name for f in made.fields] == [
        *(f.name for f in schema.fields),
        *(f.name for f in other.fields if f.name not in schema),
    ]
    assert all(made[f.name] == f for f in other.fields)
    assert made.extended(other.fields) == made
    assert hash(made.extended(other.fields)) == hash(made)
    assert made.topic == schema.topic


@given(schemas(), st.data())
def test_dropping(schema: Schema, data: st.DataObject) -> None:
    """What is dropped is gone, the rest keeps its order."""
    free = [f.name for f in schema.fields if f not in COMMON]
    gone = data.draw(st.lists(st.sampled_from(free), unique=True)) if free else []
    assert schema.without(gone).fields == tuple(f for f in schema.fields if f.name not in gone)


def test_errors_are_of_the_configuration() -> None:
    """A column that is missing is found before anything opens, and exits as such."""
    with pytest.raises(ConfigError, match="topic a has no column 'pid'; it has time_ns, seq"):
        Schema.of("a")["pid"]


@pytest.mark.parametrize(
    ("topic", "patterns", "chosen"),
    [
        ("process.exec", ["process"], True),
        ("process.exec", ["process.exec"], True),
        ("process", ["process"], True),
        ("processes", ["process"], False),
        ("process.exec", ["exec", "process.ex"], False),
        ("process.exec", [], False),
    ],
)
def test_matches(topic: str, patterns: list[str], chosen: bool) -> None:
    """An observer's name means all its topics."""
    assert matches(topic, patterns) is chosen
