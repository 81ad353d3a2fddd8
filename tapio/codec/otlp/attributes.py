"""One column → the attribute (``KeyValue``) of each row, as bytes that are yet to be gathered.

A number takes as many bytes in every row and goes into the ``Frame`` that all rows share. Text
and bytes are pointed at where they are, behind a frame that holds their lengths (``Text``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tapio.codec.otlp.gather import INLINE, Sizes, Views, values
from tapio.codec.otlp.wire import Numbers, tag, varint, varints, width
from tapio.model.schema import Field

ATTRIBUTES = tag(6)
"""``LogRecord.attributes``."""

Part: TypeAlias = tuple[bytes, tuple[Numbers, ...]]
"""Constant bytes, then values: an item a row each."""

_KEY, _VALUE = tag(1), tag(2)
_STRING, _BOOL, _INT, _DOUBLE, _BYTES = tag(1), tag(2, 0), tag(3, 0), tag(4, 1), tag(7)


INT64 = (1 << 63) - 1
"""The largest integer of OTLP."""


class BeyondInt64(Exception):
    """A column, named by the argument, has integers that OTLP's cannot say."""


@dataclass(slots=True)
class Frame:
    """Bytes that are as many in every row: constants, and ``values`` at offsets among them."""

    constant: bytearray = field(default_factory=bytearray)
    values: list[tuple[int, Numbers]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.constant)

    def put(self, constant: bytes, *values: Numbers) -> Frame:
        """Append ``constant``, then each of ``values`` (one item a row, little-endian)."""
        self.constant += constant
        for value in values:
            self.values.append((len(self.constant), value))
            self.constant += bytes(value.itemsize)
        return self

    def extend(self, other: Frame) -> Frame:
        """Append all of ``other``."""
        self.values += [(len(self.constant) + at, value) for at, value in other.values]
        self.constant += other.constant
        return self

    def lines(self, out: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Write the frame of each row into ``out`` (uint8, one line a row), and return it."""
        whole = f"V{len(self)}"  # a line moves as one item
        out.view(whole)[:, 0] = np.frombuffer(self.constant, whole)[0]
        for at, value in self.values:
            out[:, at : at + value.itemsize].view(value.dtype)[:, 0] = value
        return out

    def new(self, count: int) -> npt.NDArray[np.uint8]:
        """The frames of ``count`` rows in memory of their own."""
        return self.lines(np.empty((count, len(self)), np.uint8))


@dataclass(frozen=True, slots=True)
class Text:
    """A row's own bytes: ``frame``, then what ``views`` points at, ``sizes`` long.

    Rows for which ``absent`` is True have neither.
    """

    frame: Frame
    views: Views
    sizes: Sizes
    buffer: Any
    absent: npt.NDArray[np.bool_] | None


def number(field: Field, column: Numbers) -> Part:
    """A column of truth values or floats: ``bool_value``, ``double_value``."""
    if column.dtype.kind == "b":
        return _head(field.otel, _BOOL, 1), (column.view(np.uint8),)
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return _head(field.otel, _DOUBLE, 8), (column.astype("<f8"),)


def integers(columns: Iterable[tuple[Field, Numbers]]) -> Iterator[Part]:
    """Columns of integers: ``int_value``. Those of one width are made in one go.

    Raises BeyondInt64.
    """
    groups: defaultdict[int, list[tuple[Field, Numbers]]] = defaultdict(list)
    for one in columns:
        groups[_int_width(*one)].append(one)
    for wide, group in groups.items():
        block = np.empty((len(group), len(group[0][1])), f"<u{min(wide, 8)}")
        for line, (_, column) in zip(block, group, strict=True):
            line[:] = column
        spread = varints(block, wide)
        for at, (one_field, _) in enumerate(group):
            yield _head(one_field.otel, _INT, wide), tuple(part[at] for part in spread)


def _int_width(field: Field, column: Numbers) -> int:
    if column.dtype.kind == "i" and column.min(initial=0) < 0:
        return 10
    if (largest := int(column.max(initial=0))) > INT64:
        raise BeyondInt64(field.name)
    return width(largest)


@lru_cache(maxsize=4096)
def _head(key: str, kind: bytes, size: int) -> bytes:
    """What precedes a number of ``size`` bytes."""
    value = _keyed(key) + _VALUE + varint(len(kind) + size) + kind
    return ATTRIBUTES + varint(len(value) + size) + value


def _keyed(key: str) -> bytes:
    return _KEY + varint(len(key.encode())) + key.encode()


def text(field: Field, column: pa.Array, buffer: int) -> Text:
    """A column of ``string`` or ``binary``; its bytes are to be number ``buffer``."""
    views, sizes, data = values(column, buffer)
    absent = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    return Text(_text_frame(field, sizes), views, sizes, data, absent)


def _text_frame(field: Field, sizes: npt.NDArray[np.int32]) -> Frame:
    """A KeyValue of texts of ``sizes`` up to where they stand; always longer than ``INLINE``."""
    key = _keyed(field.otel) + _VALUE
    kind = _BYTES if field.type == "binary" else _STRING
    longest, fixed = int(sizes.max(initial=0)), len(key) + len(kind)
    wide = next(
        w
        for w in (1, 2, 4)
        if width(longest + fixed + 2 * w) <= w and len(ATTRIBUTES) + fixed + 3 * w > INLINE
    )
    frame = Frame().put(ATTRIBUTES, *varints(sizes + (fixed + 2 * wide), wide))
    frame.put(key, *varints(sizes + (len(kind) + wide), wide))
    return frame.put(kind, *varints(sizes, wide))
