"""Kernel text → Arrow: trimmed at NUL, invalid UTF-8 replaced and counted.

Texts of few distinct values (a command's name, a file) become coded text: they are encoded as
the fixed bytes that they are, 10 to 40 ns a row, and only the distinct ones are trimmed and
decoded. Texts that differ from row to row (argv) are gathered by Arrow through 16-byte views,
about 40 ns a row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class Texts(NamedTuple):
    """An Arrow column, and in how many of its rows invalid UTF-8 was replaced."""

    column: pa.Array
    replaced: int


def coded(column: npt.NDArray[np.bytes_]) -> Texts:
    """A column of ``S n`` as coded text, each up to its first NUL."""
    whole = np.ascontiguousarray(column)
    fixed = pa.Array.from_buffers(
        pa.binary(column.dtype.itemsize), len(whole), [None, pa.py_buffer(whole)]
    )
    encoded = fixed.dictionary_encode()
    raw = [value.split(b"\0", 1)[0] for value in encoded.dictionary.to_pylist()]
    texts = [value.decode(errors="replace") for value in raw]
    codes: dict[str, int] = {}
    remap = np.array([codes.setdefault(text, len(codes)) for text in texts], np.int32)
    indices = encoded.indices
    bad = [i for i, value in enumerate(raw) if not _is_utf8(value)]
    at = np.frombuffer(indices.buffers()[1], np.int32)[: len(whole)]
    replaced = int(np.isin(at, bad).sum()) if bad else 0
    if len(codes) < len(texts):  # equal once trimmed: bytes behind the NUL differed
        indices = pa.array(remap[at])
    return Texts(
        pa.DictionaryArray.from_arrays(indices, pa.array(list(codes), pa.string())), replaced
    )


def strings(column: npt.NDArray[np.bytes_], lengths: npt.NDArray[Any], nul: bytes = b" ") -> Texts:
    """A column of ``S n`` (n ≥ 16), of each row the first ``lengths`` bytes, as strings.

    NULs inside become ``nul`` (one byte): between arguments they read as spaces. Lengths are
    cut to n.
    """
    rows = pa.Array.from_buffers(pa.binary_view(), len(column), _views(column, lengths))
    _, offsets, values = rows.cast(pa.binary()).buffers()
    text = values.to_pybytes().replace(b"\0", nul) if values is not None else b""
    made = pa.Array.from_buffers(pa.string(), len(column), [None, offsets, pa.py_buffer(text)])
    if text.isascii():
        return Texts(made, 0)
    return _replaced(made)


def lengths(column: npt.NDArray[np.bytes_]) -> npt.NDArray[np.intp]:
    """Bytes before the first NUL of each row of a column of ``S n``; n where there is none."""
    width = column.dtype.itemsize
    grid = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), width)
    ends = grid == 0
    first = ends.argmax(axis=1)
    return np.where(ends[np.arange(len(column)), first], first, width)


def _views(column: npt.NDArray[np.bytes_], lengths: npt.NDArray[Any]) -> list[pa.Buffer | None]:
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
    short = np.flatnonzero(views[:, 0] <= 12)
    if len(short):
        inline = views.view(np.uint8).reshape(len(column), 16)
        head = column.getfield("V12", 0)[short].view(np.uint8).reshape(len(short), 12)
        inline[short, 4:] = np.where(np.arange(12) < views[short, :1], head, 0)
    span = (len(column) - 1) * step + width if len(column) else 0
    data = pa.foreign_buffer(column.__array_interface__["data"][0], span, column)
    return [None, pa.py_buffer(views), data]


def _replaced(made: pa.Array) -> Texts:
    """``made`` with its invalid texts put right; Arrow checks each row, then Python decodes."""
    try:
        return Texts(made.cast(pa.binary()).cast(pa.string()), 0)
    except pa.ArrowInvalid:
        texts = made.cast(pa.binary()).to_pylist()
    bad = [i for i, value in enumerate(texts) if not _is_utf8(value)]
    for i in bad:
        texts[i] = texts[i].decode(errors="replace").encode()
    return Texts(pa.array(texts, pa.binary()).cast(pa.string()), len(bad))


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
