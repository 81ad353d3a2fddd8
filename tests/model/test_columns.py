"""Single columns: what they keep alive, what they weigh, and how they join."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.model import columns as col
from tapio.model.schema import TEXT, Field
from tests.batches import TEXTS

TEXT_LISTS = st.lists(st.none() | TEXTS, max_size=8)


def column(kind: str, values: list[str | None]) -> pa.Array:
    """A text column of any of the three types."""
    made = pa.array(values, pa.string())
    if kind == "binary":
        return made.cast(pa.binary())
    return made.dictionary_encode() if kind == "text" else made


@pytest.mark.parametrize("kind", TEXT)
@given(parts=st.lists(TEXT_LISTS, min_size=1, max_size=4))
def test_texts_join(kind: str, parts: list[list[str | None]]) -> None:
    """Columns of any dictionaries, empty ones too, join to one column of their type."""
    joined = col.concat([column(kind, part) for part in parts])
    joined.validate(full=True)
    assert joined.type == Field("x", kind).arrow
    expected = [v if v is None or kind != "binary" else v.encode() for p in parts for v in p]
    assert joined.to_pylist() == expected


@pytest.mark.parametrize("kind", TEXT)
@given(values=TEXT_LISTS, start=st.integers(0, 8), rows=st.integers(0, 8))
def test_the_weight_of_texts(kind: str, values: list[str | None], start: int, rows: int) -> None:
    """A row of a slice weighs 4 bytes and its share of that slice's texts."""
    part = column(kind, values).slice(start, rows)
    held = [v for v in values[start : start + rows] if v is not None]
    if kind == "text":
        distinct = {v for v in values if v is not None}
        share = sum(len(v.encode()) for v in distinct) / len(distinct) if distinct else 0
    else:
        share = sum(len(v.encode()) for v in held) / max(1, len(part))
    assert col.row_bytes(part) == pytest.approx(4 + share)


@pytest.mark.parametrize("kind", TEXT)
@given(values=st.lists(TEXTS, min_size=2, max_size=8))
def test_what_texts_keep_alive(kind: str, values: list[str]) -> None:
    """A slice keeps the same blocks alive as the whole, and they hold at least the texts."""
    whole = column(kind, values)
    blocks = dict(col.buffers(whole))
    assert blocks == dict(col.buffers(whole.slice(1)))
    texts = set(values) if kind == "text" else values
    assert sum(blocks.values()) >= sum(len(v.encode()) for v in texts) + 4 * len(values)


def test_what_numbers_keep_alive() -> None:
    """A view of a view keeps its root alive, which is what it is charged for."""
    root = np.zeros(1000, np.int64)
    assert list(col.buffers(root[10:20][::2])) == [
        (root.__array_interface__["data"][0], root.nbytes)
    ]


def test_numbers_from_arrow_are_charged() -> None:
    """A column that is a view of Arrow's memory is charged that view."""
    column = pa.array(np.arange(100)).to_numpy()
    assert list(col.buffers(column)) == [(column.__array_interface__["data"][0], 800)]


def test_a_checked_column_is_another_view() -> None:
    """The array that was given stays writable; what the batch holds is not."""
    given_ = np.zeros(3, np.int8)
    checked = col.checked(Field("x", "int8"), given_)
    assert isinstance(checked, np.ndarray)
    assert np.shares_memory(checked, given_)
    assert given_.flags.writeable
    assert not checked.flags.writeable
