"""Random schemas and batches for property tests, and whether two batches say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from tapio.model.batch import Batch
from tapio.model.columns import Column
from tapio.model.entities import EntityTable
from tapio.model.schema import COMMON, ENTITY, NUMBERS, TEXT, Field, Schema

pa.array([0])  # the first list imports pandas, a second that no example should be charged for

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True).filter(
    lambda name: name not in {"time_ns", "seq", "severity", "entity", "weight"}
)


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """A topic of up to six columns of any types, documented or not."""
    names = draw(st.lists(NAMES, max_size=6, unique=True))
    fields = [
        Field(name, draw(st.sampled_from([*NUMBERS, *TEXT])), draw(TEXTS), draw(TEXTS), draw(TEXTS))
        for name in names
    ]
    return Schema.of(draw(st.from_regex(r"[a-z]{1,4}(\.[a-z]{1,4})?", fullmatch=True)), *fields)


@st.composite
def batches(
    draw: st.DrawFn, schema: Schema | None = None, min_rows: int = 0, entities: bool = True
) -> Batch:
    """Up to 20 rows: extreme numbers, NaN, nulls, strided views, perhaps entities."""
    schema = schema or draw(schemas())
    rows = draw(st.integers(min_rows, 20))
    columns = {f.name: _column(draw, f, rows) for f in schema.fields}
    batch = Batch(schema, columns)
    if entities and draw(st.booleans()):
        table = EntityTable()
        for key in range(draw(st.integers(0, 4))):
            table.add(key, draw(st.dictionaries(NAMES.map("k8s.{}".format), TEXTS, max_size=3)))
        codes = draw(_list(st.integers(-1, len(table) - 1), rows))
        batch = batch.with_columns({ENTITY: np.array(codes, np.int32)}, table)
    return batch


def _list(values: st.SearchStrategy[Any], rows: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=rows, max_size=rows)


def _column(draw: st.DrawFn, field: Field, rows: int) -> Column:
    if field.dtype is not None:
        return _numbers(draw, field.dtype, rows)
    if field.type == "binary":
        return pa.array(draw(_list(st.none() | st.binary(max_size=8), rows)), pa.binary())
    texts = pa.array(draw(_list(st.none() | TEXTS, rows)), pa.string())
    return texts.dictionary_encode() if field.type == "text" else texts


def _numbers(draw: st.DrawFn, dtype: np.dtype[Any], rows: int) -> Column:
    """Any bit pattern, as every second of twice the rows: a view with a stride."""
    data = draw(st.binary(min_size=2 * rows * dtype.itemsize, max_size=2 * rows * dtype.itemsize))
    if dtype == np.bool_:
        return (np.frombuffer(data, np.uint8) & 1).astype(np.bool_)[::2]
    return np.frombuffer(data, dtype)[::2]


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    """Each row as plain values that compare equal where the batch says the same, NaN too."""
    columns = {name: _plain(batch[name]) for name in batch if name != "entity"}
    said = [{n: c[i] for n, c in columns.items()} for i in range(batch.rows)]
    if batch.entities is not None and "entity" in batch:
        for row, code in zip(said, batch["entity"], strict=True):
            row["entity"] = dict(batch.entities[int(code)])
    return said


def _plain(column: Column) -> list[Any]:
    if isinstance(column, np.ndarray):
        return (
            column.astype(f"V{column.dtype.itemsize}").tolist()
            if column.dtype.kind == "f"
            else column.tolist()
        )
    return column.to_pylist()


def counting(topic: str, rows: int, start: int = 0, severity: int = 9, **texts: Any) -> Batch:
    """``rows`` rows whose ``n`` counts from ``start``; ``texts`` are coded text columns."""
    fields = [Field("n", "int64"), *(Field(name, "text") for name in texts)]
    numbers = np.arange(start, start + rows)
    columns: dict[str, Column] = {
        "time_ns": 1_700_000_000_000_000_000 + 1_000_000 * numbers,
        "seq": numbers.astype(np.uint64),
        "severity": np.full(rows, severity, np.uint8),
        "n": numbers,
        **{
            name: pa.array(values, pa.string()).dictionary_encode()
            for name, values in texts.items()
        },
    }
    return Batch(Schema(topic, (*COMMON, *fields)), columns)
