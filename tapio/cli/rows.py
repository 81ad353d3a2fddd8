"""Rows of batches as Python values and as text, for ``show``, ``convert`` and the display."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tapio.cli.terminal import escaped
from tapio.codec import lines
from tapio.model.batch import Batch
from tapio.model.columns import Column
from tapio.model.schema import NUMBERS, WEIGHT, Field, Schema

LONGEST = 400
"""Characters of one value in a line; an argv may have thousands."""


def flat(batch: Batch) -> Batch:
    """``batch`` with its entities' attributes as columns of text in place of the code."""
    if "entity" not in batch or batch.entities is None:
        return batch
    owned = batch.entities.columns(batch["entity"])
    new = {Field(name, "text"): column for name, column in owned.items() if name not in batch}
    return batch.with_columns(new).without(["entity"])


def values(column: Column) -> list[Any]:
    """``column`` as Python values; bytes as text, what is not UTF-8 replaced."""
    if isinstance(column, np.ndarray):
        return column.tolist()  # type: ignore[no-any-return]
    if isinstance(column.type, pa.DictionaryType):
        texts = [*values(column.dictionary), None]  # the last is null's
        return [texts[i] for i in column.indices.fill_null(-1).to_pylist()]
    found = column.to_pylist()
    if pa.types.is_binary(column.type):
        return [None if v is None else v.decode(errors="replace") for v in found]
    return found  # type: ignore[no-any-return]


def texts(column: Column) -> list[str]:
    """``column`` as cells; coded text is worked on once a distinct text."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "iu":
        return list(map(str, column.tolist()))
    if not isinstance(column, np.ndarray) and isinstance(column.type, pa.DictionaryType):
        cells = [*map(cell, values(column.dictionary)), ""]
        return [cells[i] for i in column.indices.fill_null(-1).to_pylist()]
    return list(map(cell, values(column)))


def described(batch: Batch) -> list[str]:
    """One line a row: ``name=value`` of what is not common to all rows.

    Text comes first: it says more, and lines are cut at the terminal's edge.
    """
    wide = flat(batch)
    fields = sorted(
        (field for field in wide.schema.fields if field != WEIGHT),
        key=lambda field: field.type in NUMBERS,
    )
    columns = {field.name: wide[field.name] for field in fields}
    told = lines.text(Batch(Schema(batch.topic, tuple(fields)), columns), width=LONGEST)
    split = (line.split(None, 3) for line in told.decode().split("\n")[:-1])
    return [words[3] if len(words) > 3 else "" for words in split]


def cell(value: object) -> str:
    """``value`` as safe text of bounded length."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return escaped(text if len(text) <= LONGEST else text[: LONGEST - 3] + "...")


def moments(times_ns: npt.NDArray[np.int64]) -> list[str]:
    """Nanoseconds since 1970 as UTC to the microsecond; the least of all numbers is ``NaT``."""
    written = np.datetime_as_string(times_ns.astype("M8[ns]"), unit="us", timezone="UTC")
    return written.tolist()  # type: ignore[no-any-return]


def severity(number: int) -> str:
    """A SeverityNumber's short name; the number itself where it has none."""
    return lines.SEVERITIES[(number - 1) // 4] if 1 <= number <= 24 else str(number)
