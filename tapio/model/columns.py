"""What can be done with one column, be it a numpy array or a pyarrow array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tapio.model.errors import SchemaError
from tapio.model.schema import Field

Column: TypeAlias = npt.NDArray[Any] | pa.Array
"""A number column is a numpy array (perhaps a strided view), a text column a pyarrow array."""


def checked(field: Field, column: Column) -> Column:
    """``column``, read-only and of ``field``'s type; SchemaError where it is of another."""
    if isinstance(column, np.ndarray):
        if column.dtype != field.dtype or column.ndim != 1:
            raise SchemaError(f"column {field.name!r} is {column.dtype}, declared {field.type}")
        view = column.view()
        view.flags.writeable = False
        return view
    if column.type != field.arrow or field.dtype is not None:
        raise SchemaError(f"column {field.name!r} is {column.type}, declared {field.type}")
    return column


def take(column: Column, index: npt.NDArray[np.intp], arrow_index: pa.Array | None) -> Column:
    """The rows ``index`` of ``column``; ``arrow_index`` is the same for a pyarrow column."""
    if isinstance(column, np.ndarray):
        taken = column[index]
        taken.flags.writeable = False
        return taken
    return column.take(arrow_index)


def concat(columns: Sequence[Column]) -> Column:
    """The columns one after another; dictionaries of coded text are unified."""
    first: Any = columns[0]
    if isinstance(first, np.ndarray):
        joined = np.concatenate(columns)
        joined.flags.writeable = False
        return joined
    if isinstance(first.type, pa.DictionaryType):
        unified = pa.chunked_array(columns).unify_dictionaries().combine_chunks()
        return unified.chunk(0) if isinstance(unified, pa.ChunkedArray) else unified
    return pa.concat_arrays(columns)


def buffers(column: Column) -> Iterator[tuple[int, int]]:
    """(address, bytes) of each memory block that ``column`` keeps alive.

    A view keeps its whole base alive, so the base is what it is charged for; two columns
    of one slab give the same pair, and are charged once.
    """
    if isinstance(column, np.ndarray):
        root: Any = column
        while isinstance(root.base, np.ndarray):
            root = root.base
        yield root.__array_interface__["data"][0], root.nbytes
        return
    for buffer in column.buffers():
        if buffer is not None:
            yield buffer.address, buffer.size
    if isinstance(column.type, pa.DictionaryType):
        yield from buffers(column.dictionary)


def row_bytes(column: Column) -> float:
    """Bytes a row of ``column`` stands for when it travels (not what it keeps alive)."""
    if isinstance(column, np.ndarray):
        return float(column.dtype.itemsize)
    if isinstance(column.type, pa.DictionaryType):
        texts = column.dictionary
        return 4.0 + (_text_bytes(texts) / len(texts) if len(texts) else 0.0)
    return 4.0 + _text_bytes(column) / max(1, len(column))


def _text_bytes(column: pa.Array) -> int:
    """Bytes of the texts of ``column``, from its first and last offset."""
    if len(column) == 0:
        return 0
    offsets = np.frombuffer(column.buffers()[1], np.int32)
    return int(offsets[column.offset + len(column)] - offsets[column.offset])
