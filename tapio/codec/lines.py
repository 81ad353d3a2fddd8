r"""Batches → lines of text or JSON, a column at a time; nothing in a row can command a terminal.

What would (escape sequences, line breaks, marks that turn the writing direction) is written as
``\u001b`` and the like, in both formats, so that a line stays a line and a value its value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from tapio.model.batch import Batch
from tapio.model.columns import Column
from tapio.model.schema import COMMON

pc: Any = pyarrow.compute  # makes its functions at import, where no type checker sees them

SEVERITIES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
"""Short names of OpenTelemetry's severities: each stands for four numbers, from 1 on."""

COLOURS = (90, 90, 39, 33, 31, 35)
"""Of each severity: grey, grey, the terminal's own, yellow, red, magenta (SGR, ECMA-48)."""

PAINT = len("\x1b[39m") + len("\x1b[0m")
"""What a severity's colour takes beside its letters, whichever it is."""

NARROWEST = 40
"""Time and severity fit into this, so a cut never falls into a colour."""

_THOUSANDTHS = pa.array([f".{n:03}Z" for n in range(1000)])

_COMMANDS = r'[\x00-\x1f"\\\x7f-\x{9f}\x{61c}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2066}-\x{2069}]'
_NO_ASCII = r'[\x00-\x1f"\\\x7f-\x{10ffff}]'
_BARE = r"^[!#-<>-\[\]-~\x{a1}-\x{10ffff}]+$"  # neither space, nor quote, nor equals sign
_LEFT = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def text(batch: Batch, *, width: int = 1000, colour: bool = False, ascii: bool = False) -> bytes:
    """A line a row: time (UTC), severity, topic, then ``name=value`` of what is not null.

    A line has at most ``width`` characters (40 at least), colour aside. With ``ascii``
    other characters are written as their code.
    """
    rows = batch.to_arrow()
    cells = [_times(batch["time_ns"]), _severities(batch["severity"], colour), batch.topic]
    common = {f.name for f in COMMON}
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        if name not in common:
            cells.append(_joined([f"{name}=", _cells(column, ascii)]))
    lines = pc.binary_join_element_wise(*cells, " ", null_handling="skip")
    return _bytes(_cut(lines, max(width, NARROWEST) + (PAINT if colour else 0)))


def ndjson(batch: Batch, *, columns: Sequence[str] = (), ascii: bool = False) -> bytes:
    """A JSON object a row: the topic, then each column; what is missing or no number is null.

    ``columns`` are those that are wanted, in this order, as far as there are; empty means all.
    """
    rows = batch.to_arrow()
    if columns:
        rows = rows.select([name for name in columns if name in rows.schema.names])
    cells: list[Any] = ['{"topic":' + json.dumps(batch.topic)]
    for name, column in zip(rows.schema.names, rows.columns, strict=True):
        cells += [f",{json.dumps(name)}:", pc.fill_null(_values(column, ascii), "null")]
    return _bytes(_joined([*cells, "}"]))


def _cut(lines: pa.Array, width: int) -> pa.Array:
    """The lines, those that are longer ending in dots."""
    long = pc.greater(pc.utf8_length(lines), width)
    if not pc.any(long).as_py():
        return lines
    cut = _joined([pc.utf8_slice_codeunits(lines.filter(long), 0, width - 3), "..."])
    return pc.replace_with_mask(lines, long, cut)


def _joined(parts: list[Any]) -> pa.Array:
    """The parts of each row, nothing between them; null where one is null."""
    return pc.binary_join_element_wise(*parts, "")


def _bytes(lines: pa.Array) -> bytes:
    """The lines, each with its end: the text buffer of an Arrow column is just that."""
    ended = _joined([lines, "\n"])
    if isinstance(ended, pa.Scalar):  # no column has a length: a batch has always one
        return b""
    offsets = np.frombuffer(ended.buffers()[1], np.int32)
    start, end = int(offsets[ended.offset]), int(offsets[ended.offset + len(ended)])
    return bytes(memoryview(ended.buffers()[2])[start:end]) if end > start else b""


def _times(time_ns: Column) -> pa.Array:
    """To the millisecond; every int64 is a time between 1677 and 2262."""
    seconds, index = np.unique(time_ns // 1_000_000_000, return_inverse=True)
    stamps = np.datetime_as_string(seconds.astype("M8[s]"))
    thousandths = pa.array(time_ns // 1_000_000 % 1000, pa.int32())
    return _joined([pa.array(stamps).take(pa.array(index)), _THOUSANDTHS.take(thousandths)])


def _severities(numbers: Column, colour: bool) -> pa.Array:
    names = [SEVERITIES[(n - 1) // 4] if 1 <= n <= 24 else "-" for n in range(256)]
    padded = [f"{name:<5}" for name in names]
    if colour:
        paint = [COLOURS[(n - 1) // 4] if 1 <= n <= 24 else 39 for n in range(256)]
        padded = [f"\x1b[{c}m{name}\x1b[0m" for c, name in zip(paint, padded, strict=True)]
    return pa.array(padded).take(pa.array(np.ascontiguousarray(numbers)))


def _cells(column: pa.Array, ascii: bool) -> pa.Array:
    """Values for a human: quoted only where they must be."""
    if isinstance(column, pa.DictionaryArray):
        return _cells(column.dictionary, ascii).take(column.indices)
    if not _is_text(column):
        return column.cast(pa.string())
    texts = _utf8(column)
    bare = pc.match_substring_regex(texts, _BARE)
    if ascii:
        bare = pc.and_(bare, pc.string_is_ascii(texts))
    bare = pc.and_not(bare, pc.match_substring_regex(texts, _COMMANDS))
    return pc.if_else(bare, texts, _quoted(texts, ascii))


def _values(column: pa.Array, ascii: bool) -> pa.Array:
    """Values as JSON; null stays null."""
    if isinstance(column, pa.DictionaryArray):
        return _values(column.dictionary, ascii).take(column.indices)
    if _is_text(column):
        return _quoted(_utf8(column), ascii)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
    return column.cast(pa.string())


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_binary(column.type))


def _utf8(column: pa.Array) -> pa.Array:
    """Bytes as text; what is not UTF-8 is replaced."""
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        texts = [None if v is None else v.decode(errors="replace") for v in column.to_pylist()]
        return pa.array(texts, pa.string())


def _quoted(texts: pa.Array, ascii: bool) -> pa.Array:
    """Each text as a JSON string. Only those that need an escape are looked at one by one."""
    quoted = _joined(['"', texts, '"'])
    hard = pc.match_substring_regex(texts, _NO_ASCII if ascii else _COMMANDS)
    if not pc.any(hard).as_py():
        return quoted
    escaped = [_escaped(t, ascii) for t in texts.filter(hard).to_pylist()]
    return pc.replace_with_mask(quoted, hard, pa.array(escaped, pa.string()))


def _escaped(value: str, ascii: bool) -> str:
    """JSON escapes for quotes, backslashes and control characters, and for the rest of them."""
    return _LEFT.sub(lambda m: f"\\u{ord(m[0]):04x}", json.dumps(value, ensure_ascii=ascii))
