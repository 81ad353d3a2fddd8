"""A drain's records → columns: which field of the C struct becomes which column.

A struct's numbers become number columns, ``char[n]`` becomes coded text up to 64 bytes and
strings above, nested structs ``outer_inner``, short arrays of numbers ``name_0``, ``name_1`` …;
what is left (``unsigned char[n]``, ``__int128``, long arrays) becomes binary. Names that begin
with an underscore are padding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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

    def __init__(
        self, dtype: np.dtype[Any], known: Schema | None = None, skip: Collection[str] = ()
    ) -> None:
        """``known`` describes the columns that it names; others describe themselves.

        Fields in ``skip`` are no columns, but ``numbers`` has them.
        """
        described = {f.name: f for f in known.fields} if known else {}
        places = list(_places(dtype, "", 0, described))
        numbers = [p for p in places if p.field.type in NUMBERS]
        end = max((p.offset + p.dtype.itemsize for p in numbers), default=0)
        self._copied = 0 < 2 * end < dtype.itemsize
        self._flat = _flat(numbers, end if self._copied else dtype.itemsize)
        self._numbers = [p for p in numbers if p.field.name not in skip]
        self._texts = [p for p in places if p not in numbers and p.field.name not in skip]
        self._foreign = [p for p in self._numbers if not p.dtype.isnative]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The columns that ``columns`` gives, numbers first."""
        return tuple(p.field for p in (*self._numbers, *self._texts))

    def numbers(self, rows: Rows) -> Rows:
        """``rows`` with a field for each number, nested or not, by its column's name.

        Where long texts follow, the numbers are copied out, 3 ns a row, so that a batch does
        not keep its texts twice.
        """
        if not self._copied:
            return rows.view(self._flat)
        return rows.getfield(f"V{self._flat.itemsize}", 0).copy().view(self._flat)

    def columns(self, rows: Rows, numbers: Rows) -> tuple[dict[str, Column], int]:
        """The columns of ``rows``, and how many texts had invalid UTF-8.

        ``numbers`` is ``numbers(rows)``, which the number columns are views of.
        """
        columns: dict[str, Column] = {p.field.name: numbers[p.field.name] for p in self._numbers}
        for place in self._foreign:
            column = numbers[place.field.name]
            columns[place.field.name] = column.astype(column.dtype.newbyteorder("="))
        replaced = 0
        for place in self._texts:
            made = _text(rows.getfield(place.dtype, place.offset), place.field.type)
            columns[place.field.name] = made.column
            replaced += made.replaced
        return columns, replaced


def _flat(numbers: Sequence[_Place], size: int) -> np.dtype[Any]:
    """A dtype of ``size`` bytes with one field a number."""
    made: Any = {
        "names": [p.field.name for p in numbers],
        "formats": [p.dtype for p in numbers],
        "offsets": [p.offset for p in numbers],
        "itemsize": size,
    }
    flat: np.dtype[Any] = np.dtype(made)
    return flat


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
