"""What precedes the rows of an entity: the head of its ``ResourceLogs``."""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import numpy as np

from tapio.codec.otlp.gather import Sizes, Views, slices
from tapio.codec.otlp.rows import HEADERS
from tapio.codec.otlp.vocabulary import attribute
from tapio.codec.otlp.wire import Numbers, field, tag, varints
from tapio.model.entities import UNKNOWN, EntityTable

_RESOURCE_LOGS, _SCOPE_LOGS = tag(1), tag(2)
_LENGTH = 4
"""Bytes of the two lengths that are known only with the rows."""

LARGEST = (1 << 7 * _LENGTH) - 1
"""The most bytes that such a length can say."""


class Resources:
    """Heads by entity, each encoded once a table; ``resource`` is common to all.

    A head is the tag and length of ResourceLogs, the resource, the tag and length of ScopeLogs,
    the scope. An attribute that both give has the entity's value.
    """

    def __init__(self, resource: Mapping[str, str], version: str) -> None:
        self._common = dict(resource)
        self._scope = field(1, field(1, b"tapio") + field(2, version.encode()))
        self._unknown = self._head({})
        self._known: WeakKeyDictionary[EntityTable, dict[int, bytes]] = WeakKeyDictionary()

    def heads(self, table: EntityTable | None, codes: list[int]) -> list[bytes]:
        """The heads of the entities ``codes``, with zeros for the lengths."""
        if table is None:
            return [self._unknown] * len(codes)
        known = self._known.setdefault(table, {UNKNOWN: self._unknown})
        for code in codes:
            if code not in known:
                known[code] = self._head(table[code])
        return [known[code] for code in codes]

    def filled(self, heads: list[bytes], sizes: Sizes) -> tuple[Views, bytearray]:
        """Views of ``heads``, and their bytes; ``sizes`` are those of the rows behind each."""
        joined = bytearray().join(heads)
        lengths = np.fromiter(map(len, heads), np.int64, len(heads))
        ends = np.cumsum(lengths)
        starts = ends - lengths
        inner = sizes + len(self._scope)
        _write(joined, ends - len(self._scope) - _LENGTH, inner)
        _write(joined, starts + 1, inner + lengths - len(self._scope) - 1 - _LENGTH)
        return slices(starts, lengths, HEADERS), joined

    def _head(self, attributes: Mapping[str, str]) -> bytes:
        said = {**self._common, **attributes}
        resource = field(1, b"".join(attribute(1, k, v) for k, v in said.items()))
        blank = bytes(_LENGTH)
        return _RESOURCE_LOGS + blank + resource + _SCOPE_LOGS + blank + self._scope


def _write(data: bytearray, starts: Numbers, lengths: Sizes) -> None:
    """Put ``lengths`` into ``data`` as varints of four bytes, where ``starts`` says."""
    (value,) = varints(lengths, _LENGTH)
    np.ndarray(len(data) - 3, value.dtype, data, strides=(1,))[starts] = value
