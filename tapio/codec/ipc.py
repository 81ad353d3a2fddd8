"""The framing of an Arrow IPC stream: one message after another, judged before Arrow sees it.

A message is ``FF FF FF FF``, the length of its metadata (int32, a multiple of 8), the metadata
(a flatbuffer ``Message``), and a body of the length that the metadata says. A metadata length
of 0 ends the stream; so does the end of the bytes at a message's edge. What is read here of the
flatbuffer (Arrow's Message.fbs, Schema.fbs) is what a hostile length could hide in: sizes,
rows, compression. Arrow itself verifies all the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from tapio.model.errors import DecodeError

Fetch: TypeAlias = Callable[[int], bytes | memoryview]
"""Gives up to n bytes, fewer only at the end, as ``read`` of an open file does."""

SCHEMA, DICTIONARY, BATCH = 1, 2, 3
"""Kinds of message (union MessageHeader) that a stream of record batches is made of."""

MAX_BYTES = 256 << 20
"""The most that one message may say it decodes to: 65,536 rows of 4 KiB."""

MAX_METADATA = 4 << 20
"""Metadata grows with columns, not rows: 1,024 columns take about 0.3 MiB."""

MAX_ROWS = 1 << 24
"""Rows of one message; it is cut into batches."""

_MARK = b"\xff\xff\xff\xff"
_V5 = 4  # enum MetadataVersion; V4 and older hid compression in free text


class Frame(NamedTuple):
    """One whole message. ``size`` is what its buffers say they hold once decoded, in bytes."""

    start: int
    kind: int
    head: bytes | memoryview
    body: bytes | memoryview
    size: int
    dictionary: int
    delta: bool

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.start + len(self.head) + len(self.body)


class Frames:
    """Messages from ``fetch``, one at a ``next()``.

    No message can make it hold more than ``max_bytes`` and MAX_METADATA.
    """

    def __init__(self, fetch: Fetch, max_bytes: int = MAX_BYTES) -> None:
        self._fetch = fetch
        self._max_bytes = max_bytes
        self.offset = 0
        """Where the next message starts."""

    def next(self) -> Frame | None:
        """The next message, None at the end of the stream.

        Raises DecodeError, with the offset of the message that is broken, cut or too large.
        """
        head = self._head()
        if head is None:
            return None
        try:
            frame = self._frame(head)
        except (struct.error, OverflowError) as error:
            raise DecodeError("damaged message metadata", offset=self.offset) from error
        self.offset = frame.end
        return frame

    def _head(self) -> bytes | None:
        prefix = bytes(self._fetch(8))
        if not prefix:
            return None
        if prefix[:4] != _MARK[: len(prefix)]:
            raise DecodeError(_foreign(prefix, self.offset), offset=self.offset)
        if len(prefix) < 8:
            raise DecodeError("the last message is cut short", offset=self.offset)
        (length,) = struct.unpack_from("<i", prefix, 4)
        if length == 0:
            self._end()
            return None
        if not 0 < length <= MAX_METADATA or length % 8:
            raise DecodeError(f"metadata of {length} bytes", offset=self.offset)
        return prefix + self._exactly(length)

    def _end(self) -> None:
        if self._fetch(1):
            raise DecodeError("bytes behind the end of the stream", offset=self.offset + 8)

    def _exactly(self, length: int) -> bytes | memoryview:
        data = self._fetch(length)
        if len(data) != length:
            raise DecodeError("the last message is cut short", offset=self.offset)
        return data

    def _frame(self, head: bytes) -> Frame:
        message = _Table.root(memoryview(head)[8:])
        kind = message.number(1, "<B")
        length = message.number(3, "<q")
        if message.number(0, "<h") != _V5 or kind not in (SCHEMA, DICTIONARY, BATCH):
            raise DecodeError("a message that a stream of batches has not", offset=self.offset)
        if not 0 <= length <= self._max_bytes:
            raise DecodeError(f"a message of {length} bytes", offset=self.offset)
        if (kind == SCHEMA) != (self.offset == 0):
            raise DecodeError("the schema is not the first message", offset=self.offset)
        body = self._exactly(length)
        if kind == SCHEMA:
            return Frame(0, kind, head, body, 0, 0, False)
        content = message.table(2)
        identity = content.number(0, "<q") if kind == DICTIONARY else 0
        delta = kind == DICTIONARY and bool(content.number(2, "<B"))
        size = self._size(content.table(1) if kind == DICTIONARY else content, body)
        return Frame(self.offset, kind, head, body, size, identity, delta)

    def _size(self, batch: _Table, body: bytes | memoryview) -> int:
        """Bytes that the buffers of a RecordBatch say they hold, once decompressed."""
        rows = batch.number(0, "<q")
        if not 0 <= rows <= MAX_ROWS:
            raise DecodeError(f"a message of {rows} rows", offset=self.offset)
        compressed = batch.slot(3) != 0
        total = 0
        for at, length in batch.pairs(2):
            if not (at >= 0 and 0 <= length <= len(body) - at):
                raise DecodeError("a buffer outside its message", offset=self.offset)
            total += _decoded(body, at, length) if compressed and length else length
        if total > self._max_bytes:
            raise DecodeError(f"a message that decodes to {total} bytes", offset=self.offset)
        return total


def _decoded(body: bytes | memoryview, at: int, length: int) -> int:
    """What a compressed buffer says it holds: an int64 before it; -1 = not compressed."""
    (said,) = struct.unpack_from("<q", body, at)
    return length - 8 if said == -1 else max(said, 0)


def _foreign(prefix: bytes, offset: int) -> str:
    if offset == 0 and prefix.startswith(b"ARROW1"):
        return "an Arrow file, not an Arrow stream: write it again with pyarrow.ipc.new_stream"
    if offset == 0 and prefix.startswith(b"PAR1"):
        return "a Parquet file, not an Arrow stream"
    return "not an Arrow stream message"


class _Table:
    """A flatbuffer table: field i at the offset that entry i of its vtable says, 0 = absent.

    Offsets that lead outside the buffer raise struct.error, or end in numbers that mean
    nothing: Arrow's own verifier then refuses the message.
    """

    def __init__(self, data: memoryview, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - self._read("<i", at)
        self._length = self._read("<H", self._fields)

    @classmethod
    def root(cls, data: memoryview) -> _Table:
        """The table that a whole flatbuffer holds."""
        return cls(data, struct.unpack_from("<I", data)[0])

    def _read(self, code: str, at: int) -> int:
        return int(struct.unpack_from(code, self._data, at)[0])

    def slot(self, index: int) -> int:
        """Where field ``index`` is; 0 where the table has none."""
        entry = 4 + 2 * index
        if entry + 2 > self._length:
            return 0
        offset = self._read("<H", self._fields + entry)
        return self._at + offset if offset else 0

    def number(self, index: int, code: str) -> int:
        """A scalar field; 0 where it is absent."""
        at = self.slot(index)
        return self._read(code, at) if at else 0

    def table(self, index: int) -> _Table:
        """A field that is a table."""
        at = self._pointer(index)
        return _Table(self._data, at)

    def pairs(self, index: int) -> list[tuple[int, int]]:
        """A field that is a vector of structs of two int64."""
        if not self.slot(index):
            return []
        at = self._pointer(index)
        count = self._read("<I", at)
        return list(struct.iter_unpack("<qq", self._data[at + 4 : at + 4 + 16 * count]))

    def _pointer(self, index: int) -> int:
        at = self.slot(index)
        if not at:
            raise struct.error("missing field")
        return at + self._read("<I", at)
