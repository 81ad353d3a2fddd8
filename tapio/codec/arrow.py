"""Batches ↔ the bytes of an Arrow IPC stream, without a file or a socket.

A stream is one schema, then record batches; the dictionaries of coded text stand before the
batch that needs them, and again whenever they change. Any bytes end in batches or in a
DecodeError: each message is judged before it is decoded (``codec.ipc``), and what Arrow then
makes of it is validated in full, offsets, indices and UTF-8 included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa

from tapio.codec.ipc import BATCH, DICTIONARY, MAX_BYTES, SCHEMA, Fetch, Frame, Frames
from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.errors import DecodeError

MAX_COLUMNS = 1024

_PLAIN = pa.ipc.IpcWriteOptions(use_threads=False)


class Encoder:
    """Record batches of one Arrow schema → one stream, in pieces that end at a message's edge."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._out = _Pieces()
        self._writer = pa.ipc.new_stream(self._out, schema, options=_PLAIN)

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """The bytes of ``batch``; the stream's first bytes hold its schema too.

        ``batch`` must be of ``schema``, metadata aside; else pyarrow raises ArrowInvalid.
        """
        self._writer.write_batch(batch)
        return self._out.taken()

    def end(self) -> bytes:
        """The mark that ends the stream; nothing can be encoded after it."""
        self._writer.close()
        return self._out.taken()


def encode(batches: Iterable[Batch]) -> bytes:
    """One whole stream of ``batches``, which are of one schema and one set of entity columns."""
    encoder: Encoder | None = None
    pieces = []
    for batch in batches:
        arrow = batch.to_arrow()
        encoder = encoder or Encoder(arrow.schema)
        pieces.append(encoder.encode(arrow))
    return b"".join(pieces) + (encoder.end() if encoder else b"")


def decode(data: bytes | memoryview, *, topic: str = "", max_bytes: int = MAX_BYTES) -> list[Batch]:
    """All batches of a whole stream. They share ``data``, and keep it alive.

    Raises DecodeError; ``topic`` is for streams whose metadata names none.
    """
    return list(Decoder(_reader(memoryview(data)), topic=topic, max_bytes=max_bytes))


class Whole(NamedTuple):
    """How much of a stream is whole: bytes up to the end of the last of ``batches``."""

    bytes: int
    batches: int


def last_whole(fetch: Fetch) -> Whole:
    """Where the last whole record batch of a stream ends: what stands behind can be cut off.

    That is the end of the schema where no batch is whole, and 0 where not even the schema is.
    The end mark is not counted: what is cut here can be closed, or gone on with.
    """
    frames = Frames(fetch)
    end = batches = 0
    try:
        while (frame := frames.next()) is not None:
            if frame.kind != DICTIONARY:
                end = frame.end
                batches += frame.kind == BATCH
    except DecodeError:
        pass
    return Whole(end, batches)


class Decoder:
    """The batches of one stream, one at a time; iterate it once.

    ``fetch`` is called for a message at a time, so memory is bounded by the largest message
    and the living dictionaries, each at most ``max_bytes``. Raises DecodeError, from the
    constructor where the schema is at fault, with the offset of the message.
    """

    def __init__(self, fetch: Fetch, *, topic: str = "", max_bytes: int = MAX_BYTES) -> None:
        self._frames = Frames(fetch, max_bytes)
        self._max_bytes = max_bytes
        self._gate = _Gate()
        self._living: dict[int, int] = {}
        self._waiting = 0
        first = self._frames.next()
        if first is None or first.kind != SCHEMA:
            raise DecodeError("an empty stream: not even a schema", offset=0)
        self._gate.admit(first)
        try:
            self._reader = pa.ipc.open_stream(self._gate)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DecodeError(_said(error), offset=0) from error
        self.schema: pa.Schema = self._reader.schema
        if len(self.schema) > MAX_COLUMNS:
            raise DecodeError(f"{len(self.schema)} columns; at most {MAX_COLUMNS}", offset=0)
        self.topic = topic or topic_of(self.schema)

    @property
    def offset(self) -> int:
        """Bytes read: the end of the last batch that was given out."""
        return self._frames.offset

    def __iter__(self) -> Iterator[Batch]:
        while (frame := self._frames.next()) is not None:
            self._charge(frame)
            self._gate.admit(frame)
            if frame.kind == BATCH:
                self._waiting = 0
                yield from self._batches(frame.start)

    def _charge(self, frame: Frame) -> None:
        """Refuse dictionaries that would together outgrow what one message may hold."""
        if frame.kind == DICTIONARY:
            before = self._living.get(frame.dictionary, 0) if frame.delta else 0
            self._living[frame.dictionary] = before + frame.size
            self._waiting += max(frame.size, len(frame.head))
            if max(self._waiting, sum(self._living.values())) > self._max_bytes:
                raise DecodeError("dictionaries too large to hold", offset=frame.start)

    def _batches(self, at: int) -> Iterator[Batch]:
        """The record batch that the gate now holds, in batches of at most MAX_ROWS."""
        try:
            record_batch = self._reader.read_next_batch()
            record_batch.validate(full=True)
            for start in range(0, record_batch.num_rows, MAX_ROWS):
                yield Batch.from_arrow(record_batch.slice(start, MAX_ROWS), self.topic)
        except (pa.ArrowException, OSError, StopIteration, UnicodeDecodeError) as error:
            raise DecodeError(_said(error), offset=at) from error
        except DecodeError as error:
            raise DecodeError(error.reason, offset=at) from error


def topic_of(schema: pa.Schema) -> str:
    """The topic that a stream's schema names, empty where it names none."""
    metadata: dict[bytes, bytes] = schema.metadata or {}
    return metadata.get(b"tapio.topic", b"").decode(errors="replace")


def _said(error: BaseException) -> str:
    """Arrow's own words, on one line of bounded length."""
    return f"Arrow refuses it: {' '.join(str(error).split())[:200]}"


def _reader(data: memoryview) -> Fetch:
    """``data`` as a Fetch that copies nothing."""
    at = 0

    def fetch(length: int) -> memoryview:
        nonlocal at
        piece = data[at : at + length]
        at += len(piece)
        return piece

    return fetch


class _Gate:
    """The file that pyarrow reads: messages that were admitted, and nothing else."""

    closed = False

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()

    def admit(self, frame: Frame) -> None:
        self._pieces += (memoryview(p) for p in (frame.head, frame.body) if len(p))

    def read(self, length: int) -> memoryview:
        if not self._pieces:
            return memoryview(b"")
        piece = self._pieces[0]
        if length < len(piece):
            self._pieces[0] = piece[length:]
        else:
            self._pieces.popleft()
        return piece[:length]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


class _Pieces:
    """The file that pyarrow writes: what came since it was last asked."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[memoryview] = []

    def write(self, data: pa.Buffer | bytes) -> int:
        piece = memoryview(data)
        self._pieces.append(piece)
        return piece.nbytes

    def taken(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data

    def flush(self) -> None:
        """Nothing is held back."""

    def writable(self) -> bool:
        return True
