"""``Encoder``: batches → the bytes of ``ExportLogsServiceRequest``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from tapio.codec.otlp.attributes import INT64, BeyondInt64
from tapio.codec.otlp.compact import Compact
from tapio.codec.otlp.gather import Scratch, gather
from tapio.codec.otlp.padded import padded
from tapio.codec.otlp.resources import LARGEST, Resources
from tapio.codec.otlp.rows import Rows
from tapio.codec.otlp.vocabulary import Vocabulary
from tapio.codec.otlp.wire import Numbers
from tapio.model.batch import Batch
from tapio.model.schema import Field

Encoding: TypeAlias = Literal["padded", "compact"]


class Encoder:
    """Encodes batches as OTLP logs, one log record a row, by columns and never by rows.

    A record has ``event_name`` = topic, the row's time and severity, and as attributes all
    other columns but ``entity`` under their OpenTelemetry names; a null is left out. Records
    are grouped by entity, whose attributes are the resource's, beside ``resource``; within an
    entity they keep their order.

    ``compact`` is the shortest, and as quick as ``padded`` (``padded.py``), which gives records
    one length where they differ little. Keeps scratch memory and what it has encoded of
    resources and texts: for one task at a time.
    """

    def __init__(
        self, resource: Mapping[str, str], *, encoding: Encoding = "compact", version: str = ""
    ) -> None:
        self._resources = Resources(resource, version)
        self._padded = encoding == "padded"
        self._scratch = Scratch()
        self._vocabulary = Vocabulary()

    def encode(self, batch: Batch) -> memoryview:
        """The request's bytes; none for no rows.

        A uint64 above 2^63 - 1, which OTLP's integers do not reach, is sent as decimal text.
        Raises OverflowError where they would be more than 256 MiB: encode fewer rows.
        """
        if batch.rows == 0:
            return memoryview(b"")
        try:
            return self._encode(batch)
        except BeyondInt64 as column:
            # requests one after another are one request: repeated fields append
            return memoryview(b"".join(map(self.encode, _apart(batch, str(column)))))

    def _encode(self, batch: Batch) -> memoryview:
        rows = Rows(batch, self._vocabulary)
        if int(rows.sizes.sum()) + 8 * batch.rows > LARGEST:
            raise OverflowError(f"{batch.rows} rows make a request of more than {LARGEST} bytes")
        order, first, codes = _grouped(batch)
        laid = (padded(rows, order, self._scratch) if self._padded else None) or Compact(
            rows, order, self._scratch
        )
        heads = self._resources.heads(batch.entities, codes)
        views, blob = self._resources.filled(heads, np.add.reduceat(laid.sizes, first))
        return gather(laid.around(views, first), [blob, *laid.buffers]).data


def _grouped(batch: Batch) -> tuple[Any, Numbers, list[int]]:
    """The rows by entity: their order, where each entity begins in it, and its code."""
    if batch.entities is None or "entity" not in batch:
        return slice(None), np.zeros(1, np.intp), [-1]
    codes = batch["entity"]
    if codes.max() < 0xFFFF:  # two-byte keys are sorted by counting: 5 ns a row, else 35
        codes = codes.astype(np.uint16)
    order = np.argsort(codes, kind="stable")
    ordered = batch["entity"][order]
    first = np.append(0, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)
    return order, first, ordered[first].tolist()


def _apart(batch: Batch, name: str) -> tuple[Batch, Batch]:
    """The rows in which column ``name`` is within int64, and the others, where it is text."""
    large = batch[name] > np.uint64(INT64)
    rest = batch.where(large)
    field = batch.schema[name]
    text = Field(name, "string", field.unit, field.attribute)
    return batch.where(~large), rest.with_columns({text: pa.array(rest[name]).cast(pa.string())})
