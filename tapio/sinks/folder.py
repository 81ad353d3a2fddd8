"""``Folder``: one open Arrow stream a topic, rotated, kept below a total; synchronous.

``TOPIC-START-N.arrows``: START is when the file was begun (UTC), N counts all files begun since
the folder was opened. ``.part`` while open; what a crash left open is mended at the next start.
``.lock`` is held as long as the folder is open, so there is one writer.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import pyarrow as pa

from tapio.model.batch import Batch
from tapio.model.errors import ConfigError, Retryable
from tapio.model.stage import Clock
from tapio.sinks.segment import PART, Segment, mend

if TYPE_CHECKING:
    import logging

NAME = re.compile(r"(.+)-(\d{8}T\d{6}Z)-(\d+)\.arrows")
LOCK = ".lock"
MAX_OPEN = 128
"""Open files at most: some topics, each in a few shapes; a process may have 1,024."""

MAX_SHAPES = 1024
"""Shapes whose columns are remembered beyond a file's end."""

Shape: TypeAlias = tuple[object, ...]
"""What one stream cannot change: the topic and the columns that are never null."""


class Rules(NamedTuple):
    """When a file is closed, how much is kept, and what is synced to the disk."""

    rotate_bytes: int
    rotate_s: float
    keep_bytes: int
    sync_close: bool
    sync_batch: bool


class Folder:
    """The files below ``path``. One thread at a time; only ``open`` raises ConfigError."""

    def __init__(self, path: Path, rules: Rules, clock: Clock, logger: logging.Logger) -> None:
        self.path = path
        self._rules = rules
        self._clock = clock
        self._logger = logger
        self._lock = -1
        self._begun = 0
        self._open: dict[Shape, Segment] = {}
        self._schemas: dict[Shape, pa.Schema] = {}

    def open(self) -> None:
        """Claim the folder, mend what a crash left open, and remove what is too much.

        Raises ConfigError where it cannot be written, or where another process writes to it.
        """
        try:
            self._claim()
            for part in sorted(self.path.glob("*.arrows" + PART)):
                self._mend(part)
            self._retain()
        except OSError as error:
            self.close()
            reason = f"cannot write to {self.path}: {error.strerror}; make it writable"
            raise ConfigError(f"{reason} or give another path", path="path") from error

    def write(self, batch: Batch) -> None:
        """Add ``batch`` to its topic's file; when this returns it survives a crash of ours.

        Raises Retryable: the rows are not there, and the file is whole.
        """
        rows = batch.to_arrow()
        shape = (batch.topic, *((f.name, f.type) for f in rows.schema if not f.nullable))
        try:
            segment = self._segment(shape, rows.schema)
            try:
                segment.append(conformed(rows, segment.schema))
            except OSError:
                self._finish(shape)
                raise
            if segment.bytes >= self._rules.rotate_bytes:
                self._finish(shape)
        except OSError as error:
            raise Retryable(self._trouble(error)) from error

    def tick(self) -> None:
        """Close the files that have been open for too long."""
        now = self._clock.monotonic()
        old = [s for s, f in self._open.items() if now - f.started >= self._rules.rotate_s]
        self._finish(*old)

    def close(self) -> None:
        """Close all files and let the folder go. May be called twice."""
        self._finish(*self._open)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _claim(self) -> None:
        """Take the lock; it goes with the process, however that ends."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o750)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(self.path / LOCK, flags, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            reason = f"process {owner} writes to {self.path} already"
            raise ConfigError(f"{reason}; give this one another path", path="path") from None
        self._lock = lock
        with suppress(OSError):  # who holds it is told, not needed
            os.pwrite(lock, f"{os.getpid():<19}\n".encode(), 0)

    def _mend(self, part: Path) -> None:
        if NAME.fullmatch(part.name.removesuffix(PART)):
            cut = mend(part)
            self._logger.warning("mended %s: cut %d bytes of an unfinished write", part.name, cut)

    def _segment(self, shape: Shape, schema: pa.Schema) -> Segment:
        """The open file for rows of ``schema``; a column that it has not begins a new one."""
        segment = self._open.get(shape)
        if segment is not None and segment.gone:
            self._logger.warning("%s was removed while it was open", segment.path.name)
            self._open.pop(shape).abandon()
            segment = None
        if segment is not None and covers(segment.schema, schema):
            return segment
        if segment is not None:
            self._finish(shape)
        elif len(self._open) >= MAX_OPEN:
            self._finish(next(iter(self._open)))
        wanted = united(self._schemas.get(shape), schema)
        if len(self._schemas) >= MAX_SHAPES:
            self._schemas.clear()
        self._schemas[shape] = wanted
        self._open[shape] = self._begin(str(shape[0]), wanted)
        return self._open[shape]

    def _begin(self, topic: str, schema: pa.Schema) -> Segment:
        if not (self.path / LOCK).exists():  # the whole folder was removed
            os.close(self._lock)
            self._claim()
        start = datetime.fromtimestamp(self._clock.time_ns() / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ")
        while True:
            path = self.path / f"{topic}-{start}-{self._begun:06d}.arrows"
            self._begun += 1
            with suppress(FileExistsError):
                return Segment(path, schema, self._clock.monotonic(), sync=self._rules.sync_batch)

    def _finish(self, *shapes: Shape) -> None:
        """Close these files. What fails is told and no more: their rows are safe already."""
        for shape in shapes:
            segment = self._open.pop(shape)
            try:
                segment.close(sync=self._rules.sync_close)
                self._retain()
            except OSError as error:
                self._logger.warning("cannot close %s: %s", segment.path, error.strerror)

    def _retain(self) -> None:
        """Remove the oldest closed files above the total that is kept, never the newest."""
        found = [(m[2], int(m[3]), p) for p in self.path.iterdir() if (m := NAME.fullmatch(p.name))]
        total = 0
        for n, (_, _, path) in enumerate(sorted(found, reverse=True)):
            with suppress(OSError):
                total += path.stat().st_size
                if n and total > self._rules.keep_bytes:
                    path.unlink()
                    self._logger.info("removed %s: more than keep_bytes are kept", path.name)

    def _trouble(self, error: OSError) -> str:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"the disk of {self.path} is full: make room, the rows are held until then"
        return f"cannot write to {self.path}: {error.strerror}"


def covers(schema: pa.Schema, other: pa.Schema) -> bool:
    """Whether rows of ``other`` fit a file of ``schema``, missing columns being null."""
    names = set(schema.names)
    return all(f.name in names and schema.field(f.name).equals(f) for f in other)


def united(schema: pa.Schema | None, other: pa.Schema) -> pa.Schema:
    """``other`` and the columns that earlier rows had besides; ``other`` wins a conflict."""
    more = [f for f in schema or () if f.name not in other.names]
    return pa.schema([*other, *more], other.metadata)


def conformed(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """``rows`` with the columns of ``schema``, in its order; those it lacks are null."""
    names = set(rows.schema.names)
    arrays = [
        rows.column(f.name) if f.name in names else pa.nulls(rows.num_rows, f.type) for f in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
