"""Kernel text → Arrow: trimmed at NUL, invalid UTF-8 replaced and counted.

Texts of few distinct values (a command's name, a file) become coded text: rows are encoded as
the bytes that they are, and only the distinct ones are trimmed and checked; 15 to 25 ns a row.
Texts that differ from row to row (argv) are gathered by Arrow through 16-byte views, and
checked together; 40 ns a row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_INLINE = 12
"""Texts of at most so many bytes lie in an Arrow view itself."""
_TO_SPACE = np.uint64(5)
_HIGH_BITS = np.uint64(0x8080808080808080)


class Texts(NamedTuple):
    """An Arrow column, and in how many of its rows invalid UTF-8 was replaced."""

    column: pa.Array
    replaced: int


def coded(column: npt.NDArray[np.bytes_]) -> Texts:
    """A column of ``S n`` as coded text, each up to its first NUL."""
    whole = np.ascontiguousarray(column)
    width = column.dtype.itemsize
    fixed = pa.Array.from_buffers(pa.binary(width), len(whole), [None, pa.py_buffer(whole)])
    encoded = fixed.dictionary_encode()
    values = np.frombuffer(encoded.dictionary.buffers()[1] or b"", f"S{width}").tolist()
    if b"\0" in b"".join(values):  # bytes behind a NUL: texts may be equal once trimmed
        return _coded_one_by_one(encoded)
    try:
        texts = _array(values)
    except pa.ArrowInvalid:
        return _coded_one_by_one(encoded)
    return Texts(pa.DictionaryArray.from_arrays(encoded.indices, texts), 0)


def _coded_one_by_one(encoded: pa.DictionaryArray) -> Texts:
    raw = [value.split(b"\0", 1)[0] for value in encoded.dictionary.to_pylist()]
    codes: dict[str, int] = {}
    remap = [codes.setdefault(value.decode(errors="replace"), len(codes)) for value in raw]
    bad = np.array([not _is_utf8(value) for value in raw], np.bool_)
    at = np.frombuffer(encoded.indices.buffers()[1] or b"", np.int32)[: len(encoded)]
    indices = pa.py_buffer(np.array(remap, np.int32)[at])
    column = pa.DictionaryArray.from_arrays(
        pa.Array.from_buffers(pa.int32(), len(at), [None, indices]),
        _array([text.encode() for text in codes]),
    )
    return Texts(column, int(bad[at].sum()))


def names(column: npt.NDArray[np.bytes_], lengths: npt.NDArray[Any]) -> Texts:
    """A column of ``S n`` (n ≥ 16), of each row the first ``lengths`` bytes, as coded text.

    Twice as fast as ``coded`` where n is far above the usual length.
    """
    texts = strings(column, lengths)
    return Texts(texts.column.dictionary_encode(), texts.replaced)


def strings(column: npt.NDArray[np.bytes_], lengths: npt.NDArray[Any]) -> Texts:
    """A column of ``S n`` (n ≥ 12), of each row the first ``lengths`` bytes, as strings.

    NULs inside, as between arguments, become spaces. Lengths are cut to n.
    """
    rows = pa.Array.from_buffers(pa.binary_view(), len(column), _views(column, lengths))
    _, offsets, values = rows.cast(pa.binary()).buffers()
    text, ascii = _spaced(values) if values is not None else (None, True)
    made = pa.Array.from_buffers(pa.string(), len(column), [None, offsets, text])
    return Texts(made, 0) if ascii else _replaced(made)


def lengths(column: npt.NDArray[np.bytes_]) -> npt.NDArray[np.intp]:
    """Bytes before the first NUL of each row of a column of ``S n``; n where there is none."""
    width = column.dtype.itemsize
    grid = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), width)
    ends = grid == 0
    first = ends.argmax(axis=1)
    return np.where(ends[np.arange(len(column)), first], first, width)


def _views(
    column: npt.NDArray[np.bytes_], lengths: npt.NDArray[Any]
) -> tuple[None, pa.Buffer, pa.Buffer]:
    """Buffers of an Arrow binary view over the column where it lies.

    A view is an int32 length, then either up to 12 bytes themselves, or their first four, a
    buffer's number and an int32 offset in it (Arrow columnar format, "Variable-size Binary
    View Layout").
    """
    width, step = column.dtype.itemsize, column.strides[0]
    views = np.zeros((len(column), 4), np.int32)
    np.minimum(lengths, width, out=views[:, 0], casting="unsafe")
    views[:, 1] = column.getfield(np.int32, 0)
    views[:, 3] = np.arange(len(column), dtype=np.int32) * step
    short = np.flatnonzero(views[:, 0] <= _INLINE)
    if len(short):
        inline = views.view(np.uint8).reshape(len(column), 16)
        head = column.getfield("V12", 0)[short].view(np.uint8).reshape(len(short), 12)
        inline[short, 4:] = np.where(np.arange(12) < views[short, :1], head, 0)
    span = (len(column) - 1) * step + width if len(column) else 0
    data = pa.foreign_buffer(column.__array_interface__["data"][0], span, column)
    return None, pa.py_buffer(views), data


def _spaced(values: pa.Buffer) -> tuple[pa.Buffer, bool]:
    """``values`` with each NUL a space, and whether all is ASCII.

    Eight bytes at a time: 0 or 1 a byte, shifted by 5, is 0 or a space.
    """
    text = np.zeros(-(-values.size // 8) * 8, np.uint8)
    text[: values.size] = np.frombuffer(values, np.uint8)
    words = text.view(np.uint64)
    words |= (text == 0).view(np.uint64) << _TO_SPACE
    high = np.bitwise_or.reduce(words) & _HIGH_BITS
    return pa.py_buffer(text).slice(0, values.size), not high


def _replaced(made: pa.Array) -> Texts:
    """``made`` with its invalid texts put right; Arrow checks each row, then Python decodes."""
    try:
        return Texts(made.cast(pa.binary()).cast(pa.string()), 0)
    except pa.ArrowInvalid:
        texts = made.cast(pa.binary()).to_pylist()
    bad = [i for i, value in enumerate(texts) if not _is_utf8(value)]
    for i in bad:
        texts[i] = texts[i].decode(errors="replace").encode()
    return Texts(_array(texts), len(bad))


def _array(values: list[bytes]) -> pa.Array:
    """The values as strings; ArrowInvalid where one is no UTF-8.

    Not by ``pa.array``, which imports pandas where there is one: half a second, 40 MiB.
    """
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers).cast(pa.string())


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
