"""Scattered bytes → one run of bytes, by Arrow's own loop.

An Arrow *view* is 16 bytes: a length, then the bytes themselves where they are at most 12,
else four of them, the number of a buffer and an offset into it. Casting an array of views to
``large_binary`` copies what each points at, one after another, in compiled code: about 4 ns a
view and the memory's own speed. So an encoder has only to say, in numpy, where its bytes are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Views: TypeAlias = npt.NDArray[np.void]
"""Views as opaque items of 16 bytes: numpy moves those at once, structured items by field."""

Sizes: TypeAlias = npt.NDArray[Any]

INLINE = 12
"""Up to this many bytes stand in the view itself."""

VIEW = np.dtype("V16")
_FIELDS = np.dtype([("length", "<i4"), ("prefix", "<u4"), ("buffer", "<i4"), ("offset", "<i4")])


class Gathered(NamedTuple):
    """The bytes, and where those of each view begin: ``offsets`` (int64) ends with the size."""

    data: memoryview
    offsets: npt.NDArray[np.int64]


def gather(views: Views, buffers: Sequence[Any]) -> Gathered:
    """All that ``views`` point at, in C order; ``buffers`` are what they number."""
    flat = np.ascontiguousarray(views).reshape(-1)
    parts = [None, pa.py_buffer(flat), *(pa.py_buffer(b) for b in buffers)]
    joined = pa.Array.from_buffers(pa.binary_view(), len(flat), parts).cast(pa.large_binary())
    _, offsets, data = joined.buffers()
    return Gathered(memoryview(data), np.frombuffer(offsets, np.int64)[: len(flat) + 1])


def slices(starts: Sizes, lengths: Sizes | int, buffer: int) -> Views:
    """Views of slices of ``buffer``, each empty or longer than ``INLINE`` bytes."""
    views = np.empty(len(starts), _FIELDS)
    views["length"] = lengths
    views["buffer"] = buffer
    views["offset"] = starts
    return views.view(VIEW)


def inline(lines: npt.NDArray[np.uint8], lengths: Sizes | int) -> Views:
    """Views that hold the first ``lengths`` bytes of ``lines`` (uint8, at most 12 a line)."""
    views = np.zeros((len(lines), 16), np.uint8)
    views.view("<i4")[:, 0] = lengths
    views[:, 4 : 4 + lines.shape[1]] = lines
    return views.view(VIEW)[:, 0]


def values(array: pa.Array, buffer: int) -> tuple[Views, npt.NDArray[np.int32], Any]:
    """Views of the values of a string or binary array, their lengths, and what they point into.

    That is to be buffer number ``buffer`` of the gather. Of a null, Arrow makes an empty view.
    """
    viewed = array.cast(pa.binary_view())
    own = viewed.buffers()
    views = np.frombuffer(own[1], _FIELDS)[viewed.offset : viewed.offset + len(array)].copy()
    lengths = views["length"].copy()
    views["buffer"] = np.where(lengths > INLINE, buffer, views["buffer"])
    return views.view(VIEW), lengths, own[2] if len(own) > 2 else b""


class Scratch:
    """Memory that is used again for every batch.

    Fresh memory costs a page fault every 4 KiB, which took longer than all the encoding. What
    ``take`` gave is lost at the next ``take`` of the same ``slot``.
    """

    def __init__(self) -> None:
        self._blocks: dict[str, npt.NDArray[np.uint8]] = {}

    def take(self, slot: str, rows: int, width: int) -> npt.NDArray[np.uint8]:
        """``rows`` lines of ``width`` bytes, of any content."""
        block = self._blocks.get(slot)
        if block is None or len(block) < rows * width:
            block = self._blocks[slot] = np.empty(rows * width * 5 // 4, np.uint8)
        return block[: rows * width].reshape(rows, width)
