"""What the log records of a batch consist of, before they are laid out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from tapio.codec.otlp.attributes import Frame, Text, integers, number, text
from tapio.codec.otlp.gather import Sizes
from tapio.codec.otlp.severity import severities
from tapio.codec.otlp.vocabulary import MOST_TEXTS, Vocabulary
from tapio.codec.otlp.wire import Numbers, field, tag
from tapio.model.batch import Batch
from tapio.model.columns import Column
from tapio.model.schema import ENTITY, NUMBERS, SEVERITY, TIME, Field

RECORD = tag(2)
"""``ScopeLogs.log_records``."""

HEADERS, LINES, COLUMNS = 0, 1, 2
"""The buffers of a gather: what precedes the rows, their fixed bytes, then each column's own."""

_OWN = {TIME.name, SEVERITY.name, ENTITY.name}
"""Columns that are no attributes."""

_INTEGERS = {name for name in NUMBERS if "int" in name}

_TIME, _OBSERVED, _EVENT_NAME = tag(1, 1), tag(11, 1), 12


class Rows:
    """The parts of each record: ``frame``, then ``texts``, then ``coded``, of ``sizes`` in all.

    ``sizes`` (int64, one a row) leaves out the record's own tag and length. ``buffers`` are
    those that the views call ``COLUMNS`` and on.
    """

    def __init__(self, batch: Batch, known: Vocabulary) -> None:
        """Take ``batch`` apart. An event is observed as it happens: both times are its own.

        Raises BeyondInt64.
        """
        time = np.maximum(batch[TIME.name], 0)
        self.count = batch.rows
        self.frame = Frame().put(_TIME, time).put(_OBSERVED, time)
        self.frame.put(field(_EVENT_NAME, batch.topic.encode()))
        self.texts: list[Text] = []
        self.coded = [severities(batch[SEVERITY.name])]
        self.buffers: list[Any] = []
        whole: list[tuple[Field, Numbers]] = []
        for f in batch.schema.fields:
            if f.type in _INTEGERS and f.name not in _OWN:
                whole.append((f, batch[f.name]))
            elif f.name not in _OWN:
                self._add(f, batch[f.name], known)
        for head, values in integers(whole):
            self.frame.put(head, *values)
        self.sizes = self._sizes()

    def _add(self, field: Field, column: Column, known: Vocabulary) -> None:
        at = COLUMNS + len(self.buffers)
        if isinstance(column, np.ndarray):
            head, values = number(field, column)
            self.frame.put(head, *values)
            return
        if field.type == "text" and len(column.dictionary) <= MOST_TEXTS:
            self.coded.append(known.coded(field, column, at))
            self.buffers.append(self.coded[-1].buffer)
            return
        plain = column.cast(pa.string()) if field.type == "text" else column
        self.texts.append(text(field, plain, at))
        self.buffers.append(self.texts[-1].buffer)

    def _sizes(self) -> Sizes:
        sizes = np.full(self.count, len(self.frame), np.int64)
        for one in self.texts:
            sizes += one.sizes
            sizes += len(one.frame) * (1 if one.absent is None else ~one.absent)
        for shared in self.coded:
            sizes += np.take(shared.sizes, shared.codes)
        return sizes
