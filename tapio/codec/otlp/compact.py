"""The compact layout: every record's pieces one after another, and not a byte more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tapio.codec.otlp.attributes import Frame
from tapio.codec.otlp.gather import VIEW, Scratch, Views, slices
from tapio.codec.otlp.rows import LINES, RECORD, Rows
from tapio.codec.otlp.wire import Numbers, varints, width


class Compact:
    """``rows`` in the order ``order``. ``sizes`` are the bytes of each, in that order."""

    def __init__(self, rows: Rows, order: npt.NDArray[Any] | slice, scratch: Scratch) -> None:
        wide = max(2, width(int(rows.sizes.max())))
        frame = Frame().put(RECORD, *varints(rows.sizes, wide)).extend(rows.frame)
        cuts = [len(frame.extend(text.frame)) for text in rows.texts] or [len(frame)]
        lines = frame.lines(scratch.take("lines", rows.count, len(frame)))
        columns = list(_columns(rows, cuts))
        views = scratch.take("views", rows.count, 16 * (1 + len(columns))).view(VIEW)
        for at, column in enumerate(columns, 1):
            views[:, at] = column
        self.sizes = (rows.sizes + len(RECORD) + wide)[order]
        self.buffers = [lines, *rows.buffers]
        self._views = _taken(views, order, scratch)

    def around(self, headers: Views, first: Numbers) -> Views:
        """The views of it all: ``headers[i]`` before the row that stands at ``first[i]``."""
        self._views.view("<i4")[:, 0] = 0
        self._views[first, 0] = headers
        return self._views


def _columns(rows: Rows, cuts: list[int]) -> Iterator[Views]:
    """The views of each row: its line, cut where texts stand, with those; then coded texts."""
    starts = np.arange(rows.count) * cuts[-1]
    if not rows.texts:
        yield slices(starts, cuts[0], LINES)
    for begin, end, text in zip([0, *cuts], cuts, rows.texts, strict=False):
        gone = 0 if text.absent is None else len(text.frame) * text.absent
        yield slices(starts + begin, end - begin - gone, LINES)
        yield text.views
    for coded in rows.coded:
        yield np.take(coded.views, coded.codes)


def _taken(views: Views, order: npt.NDArray[Any] | slice, scratch: Scratch) -> Views:
    """The lines of ``views`` in ``order``: each is moved at once."""
    if isinstance(order, slice):
        return views[order]
    whole = views.view(f"V{16 * views.shape[1]}")[:, 0]
    out = scratch.take("ordered", len(order), whole.itemsize)
    np.take(whole, order, out=out.view(whole.dtype)[:, 0], mode="clip")
    return out.view(VIEW)
