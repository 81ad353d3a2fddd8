"""A drain's records → columns: which field of the C struct becomes which column.

A struct's numbers become number columns, ``char[n]`` becomes coded text up to 64 bytes and
strings above, nested structs ``outer_inner``, short arrays of numbers ``name_0``, ``name_1`` …;
what is left (``unsigned char[n]``, ``__int128``, long arrays) becomes binary. Names that begin
with an underscore are padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tapio.codec import text
from tapio.model.columns import Column
from tapio.model.schema import NUMBERS, Field, Schema

CODED_MAX = 64
"""The longest ``char[n]`` that is taken for a name with few distinct values."""
SPREAD_MAX = 16
"""The longest array of numbers that becomes one column an element."""

Rows = npt.NDArray[np.void]


class _Place(NamedTuple):
    """A column's bytes in a record; ``dtype`` is of native order after reading."""

    field: Field
    dtype: np.dtype[Any]
    offset: int


class Records:
    """How the rows of one struct become columns: made once a topic, used at every drain."""

    def __init__(self, dtype: np.dtype[Any], known: Schema | None = None) -> None:
        """``known`` describes the columns that it names; others describe themselves."""
        self.dtype = dtype
        places = list(_places(dtype, "", 0, {f.name: f for f in known.fields} if known else {}))
        self._numbers = [p for p in places if p.field.type in NUMBERS]
        self._texts = [p for p in places if p.field.type not in NUMBERS]
        end = max((p.offset + p.dtype.itemsize for p in self._numbers), default=0)
        self._head = _head(dtype, end) if 0 < 2 * end < dtype.itemsize else None

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns that ``columns`` gives, numbers first."""
        return tuple(p.field for p in (*self._numbers, *self._texts))

    def head(self, rows: Rows) -> Rows:
        """``rows``, of which it is enough to keep what stands in front of long texts.

        That is copied out, 3 ns a row, so that a batch does not keep its texts twice.
        """
        if self._head is None:
            return rows
        return rows.getfield(f"V{self._head.itemsize}", 0).copy().view(self._head)

    def columns(
        self, rows: Rows, head: Rows, skip: frozenset[str] = frozenset()
    ) -> tuple[dict[str, Column], int]:
        """The columns of ``rows`` but ``skip``, and how many texts had invalid UTF-8.

        ``head`` is ``head(rows)``, which the numbers are views of.
        """
        columns: dict[str, Column] = {}
        for place in self._numbers:
            if place.field.name not in skip:
                columns[place.field.name] = _number(head, place)
        replaced = 0
        for place in self._texts:
            if place.field.name not in skip:
                made = _text(rows.getfield(place.dtype, place.offset), place.field.type)
                columns[place.field.name] = made.column
                replaced += made.replaced
        return columns, replaced


def _head(dtype: np.dtype[Any], end: int) -> np.dtype[Any]:
    """The fields of ``dtype`` that lie within its first ``end`` bytes."""
    within = {n: f for n, f in (dtype.fields or {}).items() if f[1] + f[0].itemsize <= end}
    made: Any = {
        "names": list(within),
        "formats": [f[0] for f in within.values()],
        "offsets": [f[1] for f in within.values()],
        "itemsize": end,
    }
    head: np.dtype[Any] = np.dtype(made)
    return head


def _number(rows: Any, place: _Place) -> npt.NDArray[Any]:
    column: npt.NDArray[Any] = rows.getfield(place.dtype, place.offset)
    native = place.dtype.newbyteorder("=")
    return column if column.dtype == native else column.astype(native)


def _text(column: npt.NDArray[Any], type: str) -> text.Texts:
    if type == "text":
        return text.coded(column)
    if type == "string":
        return text.strings(column, text.lengths(column))
    width = column.dtype.itemsize
    fixed = pa.py_buffer(np.ascontiguousarray(column))
    made = pa.Array.from_buffers(pa.binary(width), len(column), [None, fixed])
    return text.Texts(made.cast(pa.binary()), 0)


def _places(
    dtype: np.dtype[Any], prefix: str, base: int, known: Mapping[str, Field]
) -> Iterator[_Place]:
    for name, (inner, offset, *_) in (dtype.fields or {}).items():
        if not name.startswith("_"):
            yield from _place(f"{prefix}{name}", inner, base + offset, known)


def _place(
    name: str, dtype: np.dtype[Any], offset: int, known: Mapping[str, Field]
) -> Iterator[_Place]:
    if dtype.fields:
        yield from _places(dtype, f"{name}_", offset, known)
        return
    if dtype.subdtype is not None:
        element, shape = dtype.subdtype
        count = int(np.prod(shape))
        if count <= SPREAD_MAX and element.itemsize > 1:
            for index in range(count):
                at = offset + index * element.itemsize
                yield from _place(f"{name}_{index}", element, at, known)
            return
        dtype = np.dtype(f"V{dtype.itemsize}")
    yield _Place(known.get(name) or Field(name, _type(dtype)), dtype, offset)


def _type(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "S":
        return "text" if dtype.itemsize <= CODED_MAX else "string"
    return "binary" if dtype.kind == "V" else dtype.newbyteorder("=").name
