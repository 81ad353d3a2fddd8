"""``Segment``: one Arrow stream in a file that is always whole.

The file is called ``.part`` while it is open. A batch is in it wholly or not at all: when a
write fails, the file is cut back to what it was. Closing adds the end mark and renames it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from tapio.codec.arrow import Encoder, last_whole

PART = ".part"
MODE = 0o640
"""Rows may hold what a command line said, so they are not for everybody."""


class Segment:
    """An open file ``path`` + ``.part``. Methods raise OSError; one thread at a time."""

    def __init__(self, path: Path, schema: pa.Schema, started: float, *, sync: bool) -> None:
        """Create it; FileExistsError where either name is taken."""
        self.path = path
        self.started = started
        self.bytes = 0
        self._sync = sync
        self._encoder = Encoder(schema)
        self._part = path.with_name(path.name + PART)
        if path.exists():
            raise FileExistsError(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._part, flags, MODE)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema that each of its batches has."""
        return self._encoder.schema

    @property
    def gone(self) -> bool:
        """Whether somebody has removed the file: what is written to it now is lost."""
        return os.fstat(self._fd).st_nlink == 0

    def append(self, rows: pa.RecordBatch) -> None:
        """Add ``rows``: in the page cache on return, on the disk too with ``sync``.

        After an OSError the file holds what it held before, and takes no more rows: its
        encoder counts on a dictionary that may not have been written.
        """
        data = self._encoder.encode(rows)
        try:
            _write(self._fd, data)
            if self._sync:
                os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self.bytes)
            raise
        self.bytes += len(data)

    def close(self, *, sync: bool) -> None:
        """End the stream and give the file its name; an empty one is removed."""
        try:
            if self.bytes == 0:
                self._part.unlink(missing_ok=True)
                return
            self._end()
            if sync:
                os.fsync(self._fd)
            self._part.rename(self.path)
        finally:
            os.close(self._fd)
        if sync:
            sync_folder(self.path.parent)

    def abandon(self) -> None:
        """Let go of a file that is no longer there."""
        os.close(self._fd)

    def _end(self) -> None:
        """A full disk may have no room for the end mark; a stream is whole without it too."""
        try:
            _write(self._fd, self._encoder.end())
        except OSError:
            os.ftruncate(self._fd, self.bytes)


def mend(part: Path) -> int:
    """Cut what a crash left of ``part`` to its last whole batch and give it its name.

    Returns the bytes cut off. A file without a whole batch is removed; one that is no Arrow
    stream at all is kept as ``.broken``, for somebody to look at.
    """
    final = part.with_name(part.name.removesuffix(PART))
    with part.open("r+b") as file:
        whole = last_whole(file.read)
        size = file.seek(0, os.SEEK_END)
        if whole.batches:
            file.truncate(whole.bytes)
            os.fsync(file.fileno())
    if whole.batches:
        part.rename(final)
    elif whole.bytes or not size:
        part.unlink()
    else:
        part.rename(final.with_name(final.name + ".broken"))
    return size - whole.bytes


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` survive a power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write(fd: int, data: bytes) -> None:
    """Write all of ``data``; a disk that fills up takes a part first."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
