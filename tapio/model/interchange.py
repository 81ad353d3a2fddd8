"""Batch ↔ Arrow record batch: what a column's metadata says, and how entities travel.

Field metadata: ``unit``, ``attribute``, ``doc``, and ``entity`` = ``1`` on a column that is an
attribute of the row's entity. Schema metadata: ``tapio.topic`` and ``tapio.version``. A
column's type is said by its Arrow type alone, which metadata cannot contradict.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.columns import Column
from tapio.model.entities import EntityTable
from tapio.model.errors import DecodeError, SchemaError
from tapio.model.schema import COMMON, ENTITY, NUMBERS, SEQ, SEVERITY, TEXT, TIME, Field, Schema

VERSION = "1"


def to_arrow(batch: Batch) -> pa.RecordBatch:
    """``batch`` as Arrow; see the head of this file for what the metadata says."""
    fields, arrays = [], []
    for field in batch.schema.fields:
        if field != ENTITY:
            fields.append(_arrow_field(field))
            arrays.append(_arrow_array(field, batch[field.name]))
    if batch.entities is not None and "entity" in batch:
        for name, column in batch.entities.columns(batch["entity"]).items():
            if name not in batch:
                fields.append(pa.field(name, column.type, metadata={"entity": "1"}))
                arrays.append(column)
    metadata = {"tapio.topic": batch.topic, "tapio.version": VERSION}
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, metadata))


def _arrow_field(field: Field) -> pa.Field:
    said = {"unit": field.unit, "attribute": field.attribute, "doc": field.doc}
    nullable = field.type not in NUMBERS
    return pa.field(field.name, field.arrow, nullable, {k: v for k, v in said.items() if v})


def _arrow_array(field: Field, column: Column) -> pa.Array:
    if isinstance(column, np.ndarray):
        return pa.array(np.ascontiguousarray(column), field.arrow)
    return column


def from_arrow(record_batch: pa.RecordBatch, topic: str = "") -> Batch:
    """The batch that ``record_batch`` says; common columns that it lacks are filled in.

    A missing ``time_ns`` reads 0, ``severity`` 0, ``seq`` counts from 0. Raises DecodeError.
    """
    if record_batch.num_rows > MAX_ROWS:
        raise DecodeError(f"{record_batch.num_rows} rows in one batch; at most {MAX_ROWS}")
    metadata = record_batch.schema.metadata or {}
    fields: list[Field] = []
    columns: dict[str, Column] = {}
    owned: dict[str, pa.Array] = {}
    try:
        topic = topic or metadata.get(b"tapio.topic", b"").decode()
        for arrow_field, array in zip(record_batch.schema, record_batch.columns, strict=True):
            if (arrow_field.metadata or {}).get(b"entity") == b"1":
                owned[arrow_field.name] = array
                continue
            field = _field(arrow_field)
            fields.append(field)
            columns[field.name] = _column(field, array)
        _fill_common(columns, record_batch.num_rows)
        entities = _entities(owned, fields, columns, record_batch.num_rows)
        return Batch(Schema(topic, _with_common(fields)), columns, entities)
    except (SchemaError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DecodeError(f"not a batch: {error}") from error


def _with_common(fields: list[Field]) -> tuple[Field, ...]:
    named = {f.name for f in COMMON}
    return COMMON + tuple(f for f in fields if f.name not in named)


def _fill_common(columns: dict[str, Column], rows: int) -> None:
    columns.setdefault(TIME.name, np.zeros(rows, np.int64))
    columns.setdefault(SEQ.name, np.arange(rows, dtype=np.uint64))
    columns.setdefault(SEVERITY.name, np.zeros(rows, np.uint8))


def _field(field: pa.Field) -> Field:
    """The Field that an Arrow field stands for."""
    metadata = field.metadata or {}
    said = [metadata.get(k, b"").decode() for k in (b"unit", b"attribute", b"doc")]
    return Field(field.name, _kind(field.type), *said)


def _kind(type: pa.DataType) -> str:
    if pa.types.is_dictionary(type) and _is_text(type.value_type):
        return "text"
    if _is_text(type):
        return "string"
    if pa.types.is_binary(type) or pa.types.is_large_binary(type):
        return "binary"
    if pa.types.is_timestamp(type):
        return "int64"
    name = {"float": "float32", "double": "float64", "halffloat": "float32"}.get(
        str(type), str(type)
    )
    if name not in NUMBERS:
        raise DecodeError(f"a column of type {type} cannot be held in a batch")
    return name


def _is_text(type: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)
    )


def _column(field: Field, array: pa.Array) -> Column:
    if field.type in TEXT:
        return _text(field, array)
    if array.null_count:
        raise DecodeError(f"column {field.name!r} has nulls, and numbers cannot be missing")
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("ns")).cast(pa.int64())
    column = array.to_numpy(zero_copy_only=False)
    return column if column.dtype == field.dtype else column.astype(field.dtype)


def _text(field: Field, array: pa.Array) -> pa.Array:
    """``array`` in the field's own type; a null stands among the codes, never in the dictionary."""
    if pa.types.is_dictionary(array.type) and array.dictionary.null_count:
        array = array.cast(array.type.value_type).dictionary_encode()
    return array if array.type == field.arrow else array.cast(field.arrow)


def _entities(
    owned: dict[str, pa.Array], fields: list[Field], columns: dict[str, Column], rows: int
) -> EntityTable | None:
    """Put the entity table together again from its attribute columns, one code a combination."""
    if not owned:
        return None
    table = EntityTable()
    codes = np.zeros(rows, np.int64)
    texts = []
    for name, array in owned.items():
        if _kind(array.type) not in ("text", "string"):
            raise DecodeError(f"entity column {name!r} is {array.type}, not text")
        coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        index = coded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False) + 1
        texts.append((index, [None, *coded.dictionary.to_pylist()]))
        _, codes = np.unique(codes * len(texts[-1][1]) + index, return_inverse=True)
    _, first, codes = np.unique(codes, return_index=True, return_inverse=True)
    of_code = np.full(len(first), -1, np.int32)
    for at, row in enumerate(first):
        said = {
            n: t[i[row]] for n, (i, t) in zip(owned, texts, strict=True) if t[i[row]] is not None
        }
        if said:
            of_code[at] = table.add(at, said)
    fields.append(ENTITY)
    columns[ENTITY.name] = of_code[codes]
    return table
