"""Batch ↔ Arrow record batch, and what other programs see of a batch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given

from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.entities import EntityTable
from tapio.model.errors import DecodeError
from tapio.model.schema import ENTITY, Field, Schema
from tests.batches import batches, counting, rows_of


@given(batches())
def test_round_trip(batch: Batch) -> None:
    """A batch comes back from Arrow with its schema, its rows and its entities' attributes."""
    back = Batch.from_arrow(batch.to_arrow())
    said = rows_of(back)
    if "entity" in batch:  # where no row's entity has an attribute, none travels
        said = [{"entity": {}, **row} for row in said]
    assert said == rows_of(batch)
    assert back.schema.without({"entity"} & set(back)) == batch.schema.without(
        {"entity"} & set(batch)
    )


@given(batches())
def test_what_it_makes_is_valid(batch: Batch) -> None:
    """Arrow's own full validation passes, and numbers are never nullable."""
    made = batch.to_arrow()
    made.validate(full=True)
    assert all(
        f.nullable != (f.name in batch and isinstance(batch[f.name], np.ndarray))
        for f in made.schema
    )


def events() -> Batch:
    """Three rows of two entities, with coded text."""
    table = EntityTable()
    codes = [table.add(k, {"container.id": k, "k8s.pod.name": f"pod-{k}"}) for k in ("x", "y")]
    batch = counting("process.exec", 3, comm=["bash", None, "ls"])
    return batch.with_columns({ENTITY: np.array([codes[0], -1, codes[1]], np.int32)}, table)


def test_polars_reads_a_batch() -> None:
    """A batch is a polars frame, entity attributes included."""
    frame = pl.DataFrame(events())
    assert frame["n"].to_list() == [0, 1, 2]
    assert frame["comm"].cast(pl.String).to_list() == ["bash", None, "ls"]
    assert frame["k8s.pod.name"].cast(pl.String).to_list() == ["pod-x", None, "pod-y"]


def test_pandas_reads_a_batch() -> None:
    """A batch is a pandas frame."""
    frame = pd.DataFrame.from_arrow(events())
    assert frame["n"].tolist() == [0, 1, 2]
    assert frame["comm"].dropna().tolist() == ["bash", "ls"]


def test_duckdb_reads_a_batch() -> None:
    """A batch is a duckdb table by its variable's name."""
    import duckdb  # here: its bindings complain at exit where a frozen heap holds them

    batch = events()
    rows = duckdb.sql('select n, comm, "container.id" from batch order by n').fetchall()
    assert rows == [(0, "bash", "x"), (1, None, None), (2, "ls", "y")]
    assert batch.rows == 3


def test_pyarrow_reads_a_batch() -> None:
    """A batch is a pyarrow table, with units and meanings in the metadata."""
    table = pa.table(events())
    assert table.num_rows == 3
    assert table.schema.field("time_ns").metadata[b"unit"] == b"ns"
    assert table.schema.metadata[b"tapio.topic"] == b"process.exec"


def foreign(**columns: pa.Array) -> pa.RecordBatch:
    """A record batch with no metadata."""
    return pa.RecordBatch.from_pydict(columns)


def test_missing_common_columns_are_filled() -> None:
    """Somebody else's rows get a time of 0, a severity of 0 and a sequence from 0."""
    batch = Batch.from_arrow(foreign(n=pa.array([5, 6])), "some.rows")
    assert batch["time_ns"].tolist() == [0, 0]
    assert batch["seq"].tolist() == [0, 1]
    assert batch["severity"].tolist() == [0, 0]
    assert batch.schema == Schema.of("some.rows", Field("n", "int64"))


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (pa.array([1, 2], pa.timestamp("us", "UTC")), "int64", [1000, 2000]),
        (pa.array([0.5, 1.5], pa.float16()), "float32", [0.5, 1.5]),
        (pa.array(["a", None], pa.large_string()), "string", ["a", None]),
        (pa.array(["a", None], pa.string_view()), "string", ["a", None]),
        (pa.array([b"a", None], pa.large_binary()), "binary", [b"a", None]),
        (
            pa.array(["a", None]).dictionary_encode().cast(pa.dictionary(pa.uint8(), pa.string())),
            "text",
            ["a", None],
        ),
        (pa.array([True, False]), "bool", [True, False]),
    ],
)
def test_types_of_others(column: pa.Array, kind: str, values: list[object]) -> None:
    """Arrow's other widths and layouts of the same things are taken."""
    batch = Batch.from_arrow(foreign(x=column), "a")
    assert batch.schema["x"].type == kind
    assert batch["x"].tolist() == values


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([1, None]), "has nulls"),
        (pa.array([[1], []]), "cannot be held"),
        (pa.array([1, 2]).dictionary_encode(), "cannot be held"),
        (pa.array([1, 2], pa.date32()), "cannot be held"),
        (pa.nulls(2), "cannot be held"),
        (pa.array([1 << 62, 0], pa.timestamp("s")), "not a batch"),
    ],
)
def test_what_cannot_be_held(column: pa.Array, words: str) -> None:
    """Types and nulls that no column can hold are refused by name."""
    with pytest.raises(DecodeError, match=words):
        Batch.from_arrow(foreign(x=column), "a")


def test_more_rows_than_a_batch_holds() -> None:
    """A record batch above the limit is refused, whatever it holds."""
    with pytest.raises(DecodeError, match="65537 rows"):
        Batch.from_arrow(foreign(x=pa.nulls(MAX_ROWS + 1)), "a")


def test_a_topic_is_needed() -> None:
    """Rows without a topic are refused."""
    with pytest.raises(DecodeError, match="topic ''"):
        Batch.from_arrow(foreign(x=pa.array([1])))


def test_no_null_hides_in_a_dictionary() -> None:
    """A null inside a dictionary becomes a null among the codes, which all stages expect."""
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1]), pa.array(["a", None]))
    column = Batch.from_arrow(foreign(x=coded), "a")["x"]
    assert column.to_pylist() == ["a", None, None]
    assert column.dictionary.null_count == 0
