"""The padded layout: records of one length, each copied from a template in one go.

There is a template for each combination of coded texts that occurs. Blanks make them equally
long: an earlier ``severity_text``, which the real one overwrites as the record is decoded (the
last value of a field wins). Only the numbers are then set row by row, column-wise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tapio.codec.otlp.attributes import Frame
from tapio.codec.otlp.gather import INLINE, VIEW, Scratch, Sizes, Views, gather, inline, slices
from tapio.codec.otlp.rows import COLUMNS, LINES, RECORD, Rows
from tapio.codec.otlp.severity import TEXT
from tapio.codec.otlp.vocabulary import Coded
from tapio.codec.otlp.wire import Numbers, tag, varint, varints, width

MOST = 1.25
"""Records may be this much longer than compact ones; beyond, sending costs more than is won."""

_ROWS_PER_TEMPLATE = 4
"""With fewer rows to a template, making the templates takes what copying them saves."""


def padded(rows: Rows, order: npt.NDArray[Any] | slice, scratch: Scratch) -> Padded | None:
    """``rows`` in the order ``order``, padded; None where that would not pay."""
    if rows.texts:
        return None
    combined = _combine(rows.coded, rows.count // _ROWS_PER_TEMPLATE, rows.count)
    if combined is None:
        return None
    template, example = combined
    sizes = rows.sizes[example]
    longest = int(sizes.max())
    wide = max(2, width(longest))
    if longest + 1 + wide > MOST * float(rows.sizes.mean()):
        return None
    return Padded(rows, template[order], example, order, longest - sizes, wide, scratch)


def _combine(coded: list[Coded], most: int, rows: int) -> tuple[Numbers, Numbers] | None:
    """Number the combinations of codes: each row's, and for each a row that has it.

    None where there are more than ``most``.
    """
    key, count = np.zeros(rows, np.int64), 1
    for one in coded:
        count *= len(one.sizes)
        if count > 16 * rows + 4096:
            return None
        key = key * len(one.sizes) + one.codes
        present = np.zeros(count, bool)
        present[key] = True
        numbers = np.cumsum(present, dtype=np.int32) - 1
        key, count = numbers[key], int(numbers[-1]) + 1
    if count > most:
        return None
    example = np.empty(count, np.int64)
    example[key] = np.arange(rows)
    return key, example


class Padded:
    """Records of one length. ``sizes`` are the bytes of each, in their order."""

    def __init__(
        self,
        rows: Rows,
        template: Numbers,
        example: Numbers,
        order: npt.NDArray[Any] | slice,
        blanks: Sizes,
        wide: int,
        scratch: Scratch,
    ) -> None:
        size = int(rows.sizes[example[0]] + blanks[0]) + 1 + wide
        frame = Frame().put(RECORD + varint(size)).extend(rows.frame)
        templates = _templates(rows, frame, example, blanks, wide)
        lines = scratch.take("lines", rows.count, templates.shape[1])
        whole = np.dtype(("V", templates.shape[1]))
        np.take(templates.view(whole)[:, 0], template, out=lines.view(whole)[:, 0], mode="clip")
        for at, value in frame.values:
            lines[:, at : at + value.itemsize].view(value.dtype)[:, 0] = value[order]
        self.sizes = np.full(rows.count, lines.shape[1], np.int64)
        self.buffers = [lines]

    def around(self, headers: Views, first: Numbers) -> Views:
        """The views of it all: ``headers[i]`` before the row that stands at ``first[i]``."""
        size = int(self.sizes[0])
        views = np.empty((len(first), 2), VIEW)
        views[:, 0] = headers
        views[:, 1] = slices(first * size, np.diff(first, append=len(self.sizes)) * size, LINES)
        return views


def _templates(
    rows: Rows, frame: Frame, example: Numbers, blanks: Sizes, wide: int
) -> npt.NDArray[np.uint8]:
    """A record (uint8, a line each) for each combination, with zeros for the numbers."""
    count = len(example)
    views = np.empty((count, 3 + len(rows.coded)), VIEW)
    views[:, 0] = slices(np.zeros(count, np.int32), len(frame), LINES)
    views[:, 1] = inline(Frame().put(tag(TEXT), *varints(blanks, wide)).new(count), 1 + wide)
    views[:, 2] = _blank(blanks, COLUMNS + len(rows.buffers))
    for at, one in enumerate(rows.coded, 3):
        views[:, at] = one.views[one.codes[example]]
    blank = b" " * int(blanks.max())
    data, _ = gather(views, [b"", frame.constant, *rows.buffers, blank])
    return np.frombuffer(data, np.uint8).reshape(count, -1)


def _blank(sizes: Sizes, buffer: int) -> Views:
    """Views of ``sizes`` blanks, of which ``buffer`` holds as many as the most."""
    views = inline(np.full((len(sizes), INLINE), ord(" "), np.uint8), sizes)
    long = np.flatnonzero(sizes > INLINE)
    views[long] = slices(np.zeros(len(long), np.int32), sizes[long], buffer)
    return views
