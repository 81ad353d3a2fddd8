"""``when``: it chooses what a reading of each row by itself would choose."""

from __future__ import annotations

import operator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.model.batch import Batch
from tapio.model.schema import NUMBERS, Field, Schema
from tapio.model.when import When
from tests.batches import NAMES, batches, counting

TESTS = {n: getattr(operator, n) for n in ("eq", "ne", "lt", "le", "gt", "ge")}
VALUES = (
    st.integers(-(2**65), 2**65) | st.integers(-2, 2) | st.floats(allow_nan=False) | st.booleans()
)
TEXTS = st.text(max_size=3)


@st.composite
def rows_and_values(draw: st.DrawFn) -> tuple[Batch, Any]:
    """A batch with a column ``x``, and a value that is often in it."""
    kind = draw(st.sampled_from([*NUMBERS, "text", "string", "binary"]))
    batch = draw(batches(Schema.of("a.b", Field("x", kind)), min_rows=1, entities=False))
    held = plain(batch)[draw(st.integers(0, batch.rows - 1))]
    return batch, draw(VALUES | TEXTS | st.just(held if held is not None else 0))


def plain(batch: Batch) -> list[Any]:
    """The values of ``x``; bytes as text."""
    column = batch["x"]
    if isinstance(column, np.ndarray):
        return list(column.tolist())
    return [v.decode(errors="replace") if isinstance(v, bytes) else v for v in column.to_pylist()]


def chooses(test: str, held: Any, value: Any, kind: str) -> bool:
    """What the comparison means for one row: null and other kinds of value are never chosen."""
    if held is None or isinstance(held, str) != isinstance(value, str):
        return False
    if isinstance(held, float):  # in the precision of the column
        value = float(np.float32(value)) if kind == "float32" else float(value)
    return bool(TESTS[test](held, value))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # of the test's own float32
@given(rows_and_values(), st.sampled_from(list(TESTS)))
def test_comparisons(chosen: tuple[Batch, Any], test: str) -> None:
    """A field compared with a value of any kind chooses what Python itself would."""
    batch, value = chosen
    mask = When(field="x", **{test: value}).mask(batch)
    assert mask.dtype == np.bool_
    assert mask.tolist() == [
        chooses(test, held, value, batch.schema["x"].type) for held in plain(batch)
    ]


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("value", [2**65, -(2**65), 2**63, 2**64 - 1])
def test_integers_beyond_the_column(kind: str, value: int) -> None:
    """A number that no row can hold is compared all the same."""
    schema = Schema.of("a", Field("x", kind))
    common = {n: c for n in ("time_ns", "seq", "severity") for c in [counting("a", 2)[n]]}
    batch = Batch(schema, {**common, "x": np.array([0, 1], kind)})
    assert When(field="x", lt=value).mask(batch).tolist() == [value > 0] * 2
    assert When(field="x", in_=(value, 1)).mask(batch).tolist() == [False, True]


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@given(rows_and_values(), st.lists(VALUES | TEXTS, max_size=3))
def test_in(chosen: tuple[Batch, Any], more: list[Any]) -> None:
    """``in`` is the same as ``eq`` with any of the values."""
    batch, value = chosen
    mask = When(field="x", in_=(value, *more)).mask(batch)
    kind = batch.schema["x"].type
    expected = [any(chooses("eq", h, v, kind) for v in (value, *more)) for h in plain(batch)]
    assert mask.tolist() == expected


NODES = st.recursive(
    st.builds(lambda n: When(severity=n), st.integers(0, 24))
    | st.builds(lambda n: When(field="n", ge=n), st.integers(0, 20))
    | st.builds(lambda t: When(topic=t), st.lists(NAMES | st.just("a"), max_size=2).map(tuple)),
    lambda nodes: (
        st.builds(lambda some: When(all=tuple(some)), st.lists(nodes, max_size=3))
        | st.builds(lambda some: When(any=tuple(some)), st.lists(nodes, max_size=3))
        | st.builds(lambda one: When(not_=one), nodes)
    ),
    max_leaves=8,
)


def holds(node: When, row: dict[str, int]) -> bool:
    """What a tree means for one row of topic ``a.b``."""
    if node.topic is not None:
        return any(t in ("a", "a.b") for t in node.topic)
    if node.severity is not None:
        return row["severity"] >= node.severity
    if node.field is not None:
        return row["n"] >= node.ge  # type: ignore[operator]
    if node.not_ is not None:
        return not holds(node.not_, row)
    if node.all is not None:
        return all(holds(n, row) for n in node.all)
    return any(holds(n, row) for n in node.any or ())


@given(NODES, st.integers(0, 24))
def test_trees(node: When, severity: int) -> None:
    """Any tree of all, any and not chooses the rows that its logic says; so does its YAML."""
    batch = counting("a.b", 15, severity=severity)
    expected = [holds(node, {"n": n, "severity": severity}) for n in range(15)]
    assert node.mask(batch).tolist() == expected
    again = msgspec.convert(msgspec.to_builtins(node), When)
    assert again.mask(batch).tolist() == expected


def test_the_observers_name_means_all_its_topics() -> None:
    """``process`` chooses process.exec, and not processes.exec."""
    node = When(topic=("process", "network.connect"))
    topics = ("process.exec", "process", "processes.exec", "network.connect", "network.close")
    chosen = [bool(node.mask(counting(t, 1))[0]) for t in topics]
    assert chosen == [True, True, False, True, False]


def test_a_missing_column_chooses_none() -> None:
    """A batch without the column has no row that is chosen."""
    assert When(field="exit_code", ne=0).mask(counting("a", 2)).tolist() == [False, False]


def test_a_null_inside_a_dictionary_chooses_none() -> None:
    """However Arrow stores it, null compares with nothing."""
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int32()), ["a", None])
    batch = counting("a", 3).with_columns({Field("t", "text"): coded})
    for test in ("ne", "lt", "ge"):
        assert When(field="t", **{test: "b"}).mask(batch)[1:].tolist() == [False, False]
    assert When(field="t", in_=("a", "b")).mask(batch).tolist() == [True, False, False]


@pytest.mark.parametrize(
    "node",
    [
        {},
        {"topic": ["a"], "severity": 1},
        {"field": "x"},
        {"field": "x", "eq": 1, "ne": 2},
        {"eq": 1},
        {"topic": ["a"], "eq": 1},
        {"not": {"field": "x"}},
        {"all": [{}]},
        {"field": "x", "eq": [1]},
        {"field": "x", "like": "y"},
    ],
)
def test_what_says_nothing_clear_is_refused(node: dict[str, Any]) -> None:
    """No form, two forms, a comparison without a field or an unknown word are refused."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(node, When)
