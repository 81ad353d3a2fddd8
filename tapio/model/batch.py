"""``Batch``: rows of one topic as named columns, the only thing that flows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tapio.model import columns as col
from tapio.model.columns import Column
from tapio.model.entities import EntityTable
from tapio.model.errors import SchemaError
from tapio.model.schema import COMMON, ENTITY, Field, Schema

MAX_ROWS = 65_536
"""The most rows of a batch: what one kernel drain or one decoded message may bring."""


class Batch:
    """A frozen set of columns of one length (0 to 65,536 rows), described by a ``Schema``.

    Columns are read-only; each method returns a new batch that shares what it can.
    ``entities`` is the table that the ``entity`` column points into. ``id`` is the message
    id given when a sink's batch is sealed (rule 16), empty before.
    """

    __slots__ = ("_buffers", "_columns", "_size", "entities", "id", "rows", "schema")

    def __init__(
        self,
        schema: Schema,
        columns: Mapping[str, Column],
        entities: EntityTable | None = None,
    ) -> None:
        """Check and take ``columns``: all that ``schema`` names, of its types, of one length.

        Raises SchemaError.
        """
        if columns.keys() != {f.name for f in schema.fields}:
            odd = sorted(columns.keys() ^ {f.name for f in schema.fields})
            raise SchemaError(f"topic {schema.topic}: missing or unknown columns {', '.join(odd)}")
        if any(f not in schema.fields for f in COMMON):
            raise SchemaError(f"topic {schema.topic} lacks time_ns, seq or severity")
        checked = {f.name: col.checked(f, columns[f.name]) for f in schema.fields}
        lengths = {len(c) for c in checked.values()}
        if len(lengths) != 1:
            raise SchemaError(f"topic {schema.topic}: columns of unequal length")
        self._fill(schema, checked, entities, lengths.pop())

    def _fill(
        self, schema: Schema, columns: dict[str, Column], entities: EntityTable | None, rows: int
    ) -> None:
        if rows > MAX_ROWS:
            raise SchemaError(f"a batch holds at most {MAX_ROWS} rows, not {rows}")
        self.schema = schema
        self._columns = columns
        self.entities = entities
        self.rows = rows
        self.id = ""
        self._size = -1
        self._buffers: dict[int, int] | None = None

    def _like(self, columns: dict[str, Column], rows: int, schema: Schema | None = None) -> Batch:
        """A batch of already checked columns, of this one's schema and entities."""
        new = Batch.__new__(Batch)
        new._fill(schema or self.schema, columns, self.entities, rows)
        return new

    @property
    def topic(self) -> str:
        """The schema's topic."""
        return self.schema.topic

    def __len__(self) -> int:
        return self.rows

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __getitem__(self, name: str) -> Any:
        """The column ``name``: a numpy array or a pyarrow array; SchemaError if there is none."""
        try:
            return self._columns[name]
        except KeyError:
            self.schema[name]  # raises with the names that there are
            raise

    def __repr__(self) -> str:
        return f"<Batch {self.topic} {self.rows} rows: {', '.join(self._columns)}>"

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """The ``weight`` column; ones where no sampler has set it."""
        if "weight" in self._columns:
            return self._columns["weight"]
        return np.broadcast_to(np.float64(1.0), self.rows)

    @property
    def size(self) -> int:
        """Estimated bytes of the rows when they travel: what channels and sinks are bounded by."""
        if self._size < 0:
            self._size = int(self.rows * sum(col.row_bytes(c) for c in self._columns.values()))
        return self._size

    def buffers(self) -> dict[int, int]:
        """Bytes by address of every memory block that this batch keeps alive."""
        if self._buffers is None:  # some 100 µs, and asked again at every tick
            self._buffers = {a: n for c in self._columns.values() for a, n in col.buffers(c)}
        return self._buffers

    def where(self, mask: npt.NDArray[np.bool_]) -> Batch:
        """The rows for which ``mask`` (bool, one a row) is True; this batch if that is all."""
        index = np.flatnonzero(mask)
        return self if len(index) == self.rows == len(mask) else self.take(index)

    def take(self, index: npt.NDArray[np.intp]) -> Batch:
        """The rows ``index``, in that order."""
        arrow = None
        if any(not isinstance(c, np.ndarray) for c in self._columns.values()):
            arrow = pa.array(index, pa.int64())
        taken = {n: col.take(c, index, arrow) for n, c in self._columns.items()}
        return self._like(taken, len(index))

    def slice(self, start: int, rows: int) -> Batch:
        """At most ``rows`` rows from ``start`` on, without a copy."""
        start = min(start, self.rows)
        stop = min(start + rows, self.rows)
        part = {
            n: c[start:stop] if isinstance(c, np.ndarray) else c.slice(start, stop - start)
            for n, c in self._columns.items()
        }
        return self._like(part, stop - start)

    @staticmethod
    def concat(batches: Sequence[Batch]) -> Batch:
        """The batches one after another: of one schema and one entity table, else SchemaError."""
        first = batches[0]
        if len(batches) == 1:
            return first
        if any(b.schema != first.schema or b.entities is not first.entities for b in batches):
            raise SchemaError("only batches of one schema and one entity table can be joined")
        joined = {n: col.concat([b._columns[n] for b in batches]) for n in first._columns}
        return first._like(joined, sum(b.rows for b in batches))

    def with_columns(
        self, new: Mapping[Field, Column], entities: EntityTable | None = None
    ) -> Batch:
        """This batch with columns added or replaced; ``entities`` goes with an ``entity`` column.

        Raises SchemaError for a column of the wrong type or length.
        """
        for field, column in new.items():
            if len(column) != self.rows:
                raise SchemaError(f"column {field.name!r} has {len(column)} rows, not {self.rows}")
        if ENTITY in new and entities is None:
            raise SchemaError("an entity column needs its entity table")
        columns = self._columns | {f.name: col.checked(f, c) for f, c in new.items()}
        batch = self._like(columns, self.rows, self.schema.extended(new))
        batch.entities = self.entities if entities is None else entities
        return batch

    def without(self, names: Iterable[str]) -> Batch:
        """This batch without the columns ``names``; the common ones cannot go."""
        schema = self.schema.without(names)
        return self._like({f.name: self._columns[f.name] for f in schema.fields}, self.rows, schema)

    def sealed(self, id: str) -> Batch:
        """This batch under a message id: the same rows, never to be cut again."""
        new = self._like(self._columns, self.rows)
        new.id = id
        return new

    def to_arrow(self) -> pa.RecordBatch:
        """As an Arrow record batch; the entity's attributes become coded text columns."""
        from tapio.model.interchange import to_arrow

        return to_arrow(self)

    @staticmethod
    def from_arrow(record_batch: pa.RecordBatch, topic: str = "") -> Batch:
        """From an Arrow record batch; ``topic`` is needed where its metadata names none.

        Raises DecodeError where a column is of a type that batches do not hold.
        """
        from tapio.model.interchange import from_arrow

        return from_arrow(record_batch, topic)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow PyCapsule stream interface: polars, pandas, duckdb and pyarrow read this."""
        batch = self.to_arrow()
        reader = pa.RecordBatchReader.from_batches(batch.schema, [batch])
        return reader.__arrow_c_stream__(requested_schema)
