"""Records → columns: each kind of field of a struct."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio.codec.records import Records
from tapio.model.batch import Batch
from tapio.model.schema import COMMON, Field, Schema

INNER = np.dtype([("x", "<u2"), ("y", "<i2")])
WHOLE: list[Any] = [
    ("n", "<i8"),
    ("big", ">u4"),
    ("flag", "?"),
    ("_pad", "u1", (3,)),
    ("inner", INNER),
    ("pair", "<u4", (2,)),
    ("grid", "<u2", (2, 2)),
    ("each", INNER, (2,)),
    ("many", "<u4", (17,)),
    ("mac", "u1", (6,)),
    ("wide", "V16"),
    ("comm", "S16"),
    ("line", "S80"),
]
DTYPE = np.dtype(WHOLE)


def rows_of(count: int, data: bytes = b"") -> Any:
    """Rows of any bytes, each in a longer record as a drain has them."""
    step = DTYPE.itemsize + 8
    slab = np.frombuffer((data * (count * step))[: count * step].ljust(count * step, b"\0"), "u1")
    return np.ndarray((count,), DTYPE, slab.copy(), 8 if count else 0, (step,))


def columns_of(rows: Any, known: Schema | None = None) -> dict[str, Any]:
    """All its columns."""
    records = Records(rows.dtype, known)
    return records.columns(rows, records.numbers(rows))[0]


def test_every_kind_of_field_becomes_columns() -> None:
    """Numbers, nested structs, arrays short and long, bytes and texts."""
    rows = rows_of(2)
    row = rows[1]
    row["n"], row["big"], row["flag"], row["inner"]["y"] = -5, 7, True, -2
    row["pair"], row["grid"], row["mac"] = [1, 2], [[1, 2], [3, 4]], [1, 2, 3, 4, 5, 6]
    row["each"]["x"] = [8, 9]
    row["comm"], row["line"] = b"sh", b"a line"
    columns = columns_of(rows)
    said = {
        n: (c.tolist() if isinstance(c, np.ndarray) else c.to_pylist())[1]
        for n, c in columns.items()
    }
    assert said == {
        "n": -5,
        "big": 7,
        "flag": True,
        "inner_x": 0,
        "inner_y": -2,
        "pair_0": 1,
        "pair_1": 2,
        "grid_0": 1,
        "grid_1": 2,
        "grid_2": 3,
        "grid_3": 4,
        "each_0_x": 8,
        "each_0_y": 0,
        "each_1_x": 9,
        "each_1_y": 0,
        "many": bytes(68),
        "mac": b"\1\2\3\4\5\6",
        "wide": bytes(16),
        "comm": "sh",
        "line": "a line",
    }
    assert columns["comm"].type == Field("c", "text").arrow
    assert columns["line"].type == Field("c", "string").arrow


@settings(deadline=None)
@given(st.integers(0, 5), st.binary(min_size=1, max_size=300))
def test_any_bytes_make_a_batch(count: int, data: bytes) -> None:
    """Whatever a record holds, its columns are of the types that its fields say."""
    rows = rows_of(count, data)
    records = Records(DTYPE)
    columns, _ = records.columns(rows, records.numbers(rows))
    common = {"time_ns": "int64", "seq": "uint64", "severity": "uint8"}
    columns |= {name: np.zeros(count, type) for name, type in common.items()}
    batch = Batch(Schema("t", (*COMMON, *records.fields)), columns)
    assert len(batch) == count
    batch.to_arrow().validate(full=True)


def test_what_is_described_is_of_the_type_that_is_said() -> None:
    """A schema may call a long text coded, and gives units and attributes."""
    line = Field("line", "text", attribute="a.line")
    known = Schema.of("t", line)
    assert line in Records(DTYPE, known).fields
    assert columns_of(rows_of(1), known)["line"].type == line.arrow


def test_numbers_are_views_unless_long_texts_would_be_kept_with_them() -> None:
    """A record that is mostly numbers is viewed; of one that is mostly text the head is copied."""
    numbers = np.zeros(3, [("a", "<u8"), ("b", "<u8"), ("comm", "S4")])
    texts = np.zeros(3, [("a", "<u8"), ("line", "S512")])
    assert np.shares_memory(columns_of(numbers)["a"], numbers)
    assert not np.shares_memory(columns_of(texts)["a"], texts)


def test_fields_that_are_skipped_cost_nothing() -> None:
    """A field that the caller makes itself is not made twice; a number can still be read."""
    records = Records(DTYPE, skip=("line", "n"))
    rows = rows_of(1)
    numbers = records.numbers(rows)
    columns, _ = records.columns(rows, numbers)
    assert {"line", "n"}.isdisjoint(columns)
    assert {"line", "n"}.isdisjoint(field.name for field in records.fields)
    assert numbers["n"].tolist() == [0]


@pytest.mark.parametrize("broken", [b"\xff", b"ok\xc3"])
def test_replaced_texts_are_counted(broken: bytes) -> None:
    """Invalid UTF-8 of any text field adds to one count."""
    rows = rows_of(2)
    rows["comm"][0] = rows["line"][1] = broken
    records = Records(DTYPE)
    assert records.columns(rows, records.numbers(rows))[1] == 2
