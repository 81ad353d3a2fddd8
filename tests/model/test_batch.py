"""A batch is a value: its methods give what lists of rows would, and nothing can be broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.columns import Column
from tapio.model.entities import EntityTable
from tapio.model.errors import SchemaError
from tapio.model.schema import COMMON, ENTITY, WEIGHT, Field, Schema
from tests.batches import batches, counting, rows_of, schemas


@given(batches(), st.data())
def test_where(batch: Batch, data: st.DataObject) -> None:
    """A mask keeps the rows that it marks, in their order."""
    mask = data.draw(st.lists(st.booleans(), min_size=batch.rows, max_size=batch.rows))
    kept = batch.where(np.array(mask, bool))
    assert rows_of(kept) == [r for r, keep in zip(rows_of(batch), mask, strict=True) if keep]


@given(batches(min_rows=1), st.data())
def test_take(batch: Batch, data: st.DataObject) -> None:
    """Rows may be taken in any order, and more than once."""
    index = data.draw(st.lists(st.integers(0, batch.rows - 1), max_size=30))
    taken = batch.take(np.array(index, np.intp))
    rows = rows_of(batch)
    assert rows_of(taken) == [rows[i] for i in index]
    assert len(taken) == taken.rows == len(index)


@given(batches(), st.integers(0, 25), st.integers(0, 25))
def test_slice(batch: Batch, start: int, rows: int) -> None:
    """A slice is what a list's is, beyond the end too, and copies nothing."""
    part = batch.slice(start, rows)
    assert rows_of(part) == rows_of(batch)[start : start + rows]
    assert part.rows == len(rows_of(part))
    for name in part:
        if isinstance(part[name], np.ndarray) and part.rows:
            assert np.shares_memory(part[name], batch[name])


@given(st.data())
def test_concat(data: st.DataObject) -> None:
    """Joined batches hold all rows in order, whatever their dictionaries and lengths."""
    schema = data.draw(schemas())
    some = data.draw(st.lists(batches(schema, entities=False), min_size=1, max_size=4))
    joined = Batch.concat(some)
    assert rows_of(joined) == [row for b in some for row in rows_of(b)]
    assert joined.schema == schema
    joined.to_arrow().validate(full=True)


@given(batches(min_rows=1), st.integers(1, 8))
def test_cut_and_joined_again(batch: Batch, rows: int) -> None:
    """Parts of a batch, with their entities, join to the whole."""
    parts = [batch.slice(start, rows) for start in range(0, batch.rows, rows)]
    assert rows_of(Batch.concat(parts)) == rows_of(batch)


def test_what_cannot_be_joined() -> None:
    """Batches of two topics, or of two entity tables, are not joined."""
    with pytest.raises(SchemaError, match="one schema"):
        Batch.concat([counting("a", 1), counting("b", 1)])
    with pytest.raises(SchemaError, match="one entity table"):
        Batch.concat([about(counting("a", 1)), about(counting("a", 1))])


def about(batch: Batch) -> Batch:
    """``batch`` with a table of its own."""
    return batch.with_columns({ENTITY: np.full(batch.rows, -1, np.int32)}, EntityTable())


@given(batches(), batches())
def test_columns_can_be_added_and_replaced(batch: Batch, other: Batch) -> None:
    """New columns stand behind the others, replaced ones keep their place; the rest is shared."""
    rows = min(batch.rows, other.rows)
    batch, other = batch.slice(0, rows), other.slice(0, rows)
    new = {f: other[f.name] for f in other.schema.fields if f != ENTITY}
    made = batch.with_columns(new)
    for field in new:
        assert rows_of(made.without(set(made) - {field.name, *COMMON_NAMES})) is not None
        assert made.schema[field.name] == field
    names = [*batch, *(f.name for f in new if f.name not in batch)]
    assert list(made) == [f.name for f in made.schema.fields] == names
    assert all(made[n] is batch[n] for n in batch if n not in {f.name for f in new})
    made.to_arrow().validate(full=True)


COMMON_NAMES = {f.name for f in COMMON}


@given(batches())
def test_columns_can_be_dropped(batch: Batch) -> None:
    """All but the common columns can go."""
    left = batch.without(set(batch) - COMMON_NAMES)
    assert set(left) == COMMON_NAMES
    assert left.rows == batch.rows


@pytest.mark.parametrize("name", sorted(COMMON_NAMES))
def test_common_columns_stay(name: str) -> None:
    """Time, sequence and severity belong to every batch."""
    with pytest.raises(SchemaError, match="cannot be dropped"):
        counting("a", 1).without([name])


def test_an_unknown_column_is_named() -> None:
    """Asking for, or dropping, what is not there says what is."""
    for ask in (lambda b: b["pid"], lambda b: b.without(["pid"])):
        with pytest.raises(SchemaError, match=r"topic a has no column 'pid'; it has time_ns, "):
            ask(counting("a", 1))


def columns(**changes: Any) -> dict[str, Column]:
    """Right columns of two rows, with ``changes``; None leaves one out."""
    right: dict[str, Any] = {
        "time_ns": np.zeros(2, np.int64),
        "seq": np.zeros(2, np.uint64),
        "severity": np.zeros(2, np.uint8),
        "text": pa.array(["a", "b"]).dictionary_encode(),
    }
    return {k: v for k, v in (right | changes).items() if v is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": None}, "missing or unknown columns text"),
        ({"more": np.zeros(2)}, "missing or unknown columns more"),
        ({"seq": np.zeros(3, np.uint64)}, "unequal length"),
        ({"seq": np.zeros(2, np.int64)}, "'seq' is int64, declared uint64"),
        ({"seq": np.zeros((2, 1), np.uint64)}, "'seq' is uint64, declared uint64"),
        ({"seq": pa.array([1, 2], pa.uint64())}, "'seq' is uint64, declared uint64"),
        ({"text": pa.array(["a", "b"])}, "'text' is string, declared text"),
        ({"text": np.zeros(2, "U1")}, "'text' is <U1, declared text"),
    ],
)
def test_wrong_columns_are_refused(changes: dict[str, Any], words: str) -> None:
    """A column that is missing, unknown, of another type, shape or length is named."""
    with pytest.raises(SchemaError, match=words):
        Batch(Schema.of("a", Field("text", "text")), columns(**changes))


def test_the_common_columns_are_needed() -> None:
    """A schema without them makes no batch."""
    with pytest.raises(SchemaError, match="lacks time_ns, seq or severity"):
        Batch(Schema("a", (Field("x", "int8"),)), {"x": np.zeros(1, np.int8)})


def test_wrong_new_columns_are_refused() -> None:
    """A new column must have the batch's length and its declared type; entities their table."""
    batch = counting("a", 2)
    for column, words in (
        (np.zeros(3), "has 3 rows, not 2"),
        (np.zeros(2, int), "declared float64"),
    ):
        with pytest.raises(SchemaError, match=words):
            batch.with_columns({WEIGHT: column})
    with pytest.raises(SchemaError, match="needs its entity table"):
        batch.with_columns({ENTITY: np.zeros(2, np.int32)})


def test_the_largest_batch() -> None:
    """65,536 rows are a batch, one more is none, nor do two make one."""
    most = counting("a", MAX_ROWS)
    with pytest.raises(SchemaError, match="at most 65536 rows, not 65537"):
        counting("a", MAX_ROWS + 1)
    with pytest.raises(SchemaError, match="at most 65536"):
        Batch.concat([most, counting("a", 1)])


@given(batches(min_rows=1))
def test_columns_cannot_be_written(batch: Batch) -> None:
    """However a batch came about, its numbers are read-only; a given array itself is not."""
    mask = np.ones(batch.rows, bool)
    mask[0] = False
    copies = [batch, batch.where(mask), batch.slice(0, 1), Batch.concat([batch, batch])]
    copies.append(batch.with_columns({WEIGHT: np.ones(batch.rows)}))
    for one in copies:
        for name in one:
            if isinstance(one[name], np.ndarray):
                assert not one[name].flags.writeable
    given_ = np.zeros(batch.rows)
    batch.with_columns({WEIGHT: given_})
    given_[0] = 1.0


def test_weights() -> None:
    """Where no sampler has set them, each row counts for one."""
    batch = counting("a", 3)
    assert batch.weights.tolist() == [1.0, 1.0, 1.0]
    assert not batch.weights.flags.writeable
    assert batch.with_columns({WEIGHT: np.full(3, 2.5)}).weights.tolist() == [2.5] * 3


def test_sealing() -> None:
    """A sealed batch has its id and the same columns; a part of it has none."""
    batch = counting("a", 3)
    sealed = batch.sealed("one")
    assert (sealed.id, batch.id) == ("one", "")
    assert all(sealed[name] is batch[name] for name in batch)
    assert sealed.slice(0, 1).id == sealed.where(np.array([True, False, True])).id == ""


def test_everything_kept_is_the_same_batch() -> None:
    """A mask that keeps all rows costs nothing."""
    batch = counting("a", 3)
    assert batch.where(np.ones(3, bool)) is batch
    assert Batch.concat([batch]) is batch


@given(batches(min_rows=2))
def test_size_is_that_of_the_rows(batch: Batch) -> None:
    """Size is not negative, and a half has no more than the whole and a dictionary."""
    assert batch.size >= batch.rows * 17
    texts = sum(
        len(t or "")
        for f in batch.schema.fields
        if f.type == "text"
        for t in batch[f.name].dictionary.to_pylist()
    )
    assert batch.slice(0, batch.rows // 2).size <= batch.size + 4 * batch.rows * texts


def test_size_counts_each_text_that_travels() -> None:
    """A string column is charged its bytes; a slice only its own."""
    text = pa.array(["x" * 1000, "y" * 10, None, ""])
    batch = counting("a", 4).with_columns({Field("t", "string"): text})
    base = counting("a", 4).size
    assert batch.size == base + 4 * 4 + 1010
    assert batch.slice(1, 3).size == base * 3 // 4 + 3 * 4 + 10


def test_a_slab_is_charged_once_and_whole() -> None:
    """Views of one block of memory, in any number of batches, are that one block."""
    slab = np.zeros(
        1000, np.dtype([("time_ns", "i8"), ("seq", "u8"), ("severity", "u1"), ("x", "i4")])
    )
    schema = Schema.of("a", Field("x", "int32"))
    batch = Batch(schema, {name: slab[name][10:20] for name in slab.dtype.names or ()})
    assert list(batch.buffers().values()) == [slab.nbytes]
    assert batch.slice(3, 2).buffers() == batch.buffers()
    assert batch.take(np.array([1])).buffers().keys().isdisjoint(batch.buffers())


def test_shared_texts_are_charged_once() -> None:
    """A dictionary that batches share is the same block in each."""
    batch = counting("a", 4, who=["a" * 100, "b", "a" * 100, None])
    one, other = (b.buffers() for b in (batch.slice(0, 2), batch.slice(2, 2)))
    assert one == other
    assert sum(one.values()) >= 101


def test_it_says_what_it_is() -> None:
    """The repr names topic, rows and columns."""
    batch = counting("a.b", 2)
    assert repr(batch) == "<Batch a.b 2 rows: time_ns, seq, severity, n>"
    assert (batch.topic, "n" in batch, "m" in batch, list(batch)[-1]) == ("a.b", True, False, "n")
