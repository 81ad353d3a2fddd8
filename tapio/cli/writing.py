"""What ``convert`` writes: Parquet and NDJSON files that appear whole or not at all."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa

from tapio.cli.boundary import UsageError
from tapio.cli.files import Files
from tapio.codec import lines
from tapio.model.batch import Batch
from tapio.model.errors import TapioError

GROUP_ROWS, GROUP_BYTES = 131_072, 64 << 20
"""A Parquet row group ends at either: large enough to compress, small enough to hold."""


class Writer(Protocol):
    """Writes one file."""

    def write(self, batch: Batch) -> None:
        """Append the rows."""
        ...

    def close(self) -> None:
        """Write what is left, and the file's end."""
        ...


class Parquet:
    """Rows in groups, zstd; a column that a batch lacks is null."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        from pyarrow.parquet import ParquetWriter

        self._schema = schema
        self._writer = ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(self, batch: Batch) -> None:
        """Append the rows; a full group goes to the file."""
        rows = aligned(batch.to_arrow(), self._schema)
        self._waiting.append(rows)
        self._rows += rows.num_rows
        self._bytes += rows.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write the last group and the footer."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
            self._waiting.clear()
            self._rows = self._bytes = 0


class Ndjson:
    """One JSON object a line, the topic first; NaN and what is missing are null."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, batch: Batch) -> None:
        """Append the rows."""
        self._file.write(lines.ndjson(batch))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def aligned(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """``rows`` with the columns of ``schema``, in its order and cast to its types."""
    columns = []
    for field in schema:
        if field.name in rows.schema.names:
            columns.append(rows.column(field.name))
        else:
            columns.append(pa.nulls(rows.num_rows, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def united(schemas: list[pa.Schema]) -> pa.Schema:
    """One schema for files of one topic that older and newer versions wrote.

    Numbers are widened; every column may be null. Raises UsageError where types disagree.
    """
    bare = [pa.schema([f.with_nullable(True) for f in s], s.metadata) for s in schemas]
    try:
        return pa.unify_schemas(bare, promote_options="permissive")
    except pa.ArrowException as error:
        said = " ".join(str(error).split())
        raise UsageError(f"these files cannot stand in one: {said}; convert them apart") from error


class Outputs:
    """One output, or one a topic in a folder; ``publish`` gives them their names.

    Until then each is a hidden file beside its place; left by an error, they are removed.
    """

    def __init__(self, target: Path, form: str, files: Files, *, folder: bool, force: bool) -> None:
        self.written: Counter[Path] = Counter()
        self._target = target
        self._form = form
        self._folder = folder
        self._force = force
        self._writers: dict[Path, Writer] = {}
        self._schemas: dict[str, list[pa.Schema]] = {}
        for topic, schema in files.schemas():
            self._schemas.setdefault(topic, []).append(schema)
        if form == "parquet" and not folder and len(self._schemas) > 1:
            raise UsageError(
                f"a Parquet file has one topic's columns, and here are {', '.join(self._schemas)}: "
                "choose one with --topic, or name a folder (-o out/ --to parquet)"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for path, writer in self._writers.items():
            with suppress(OSError, pa.ArrowException):
                writer.close()
            _hidden(path).unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            reason = error.strerror or str(error)
            raise TapioError(f"{self._target} cannot be written: {reason}") from error

    def write(self, batch: Batch) -> None:
        """Append rows to the file of their topic."""
        path = self._target / f"{batch.topic}.{self._form}" if self._folder else self._target
        if path not in self._writers:
            self._writers[path] = self._open(path, batch.topic)
        self._writers[path].write(batch)
        self.written[path] += batch.rows

    def publish(self) -> None:
        """Close the files and give them their names, durably."""
        if not self._writers:
            raise TapioError("there are no rows to convert")
        while self._writers:
            path, writer = next(iter(self._writers.items()))
            writer.close()
            hidden = _hidden(path)
            descriptor = os.open(hidden, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            hidden.rename(path)
            del self._writers[path]

    def _open(self, path: Path, topic: str) -> Writer:
        if path.exists() and not self._force:
            raise UsageError(f"{path} exists; say --force to replace it")
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._form == "ndjson":
            return Ndjson(_hidden(path))
        return Parquet(_hidden(path), united(self._schemas[topic]))


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
