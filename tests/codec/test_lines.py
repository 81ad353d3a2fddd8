"""Lines: they say what the rows say, one line a row, and command no terminal."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.codec import lines
from tapio.model.batch import Batch
from tapio.model.columns import Column
from tapio.model.entities import EntityTable
from tapio.model.schema import COMMON, ENTITY, TEXT, Field, Schema
from tests.batches import batches, counting


@given(batches(), st.booleans())
def test_json_says_what_the_rows_say(batch: Batch, ascii: bool) -> None:
    """Each line parses to its row: all columns, entity attributes, null for NaN."""
    made = lines.ndjson(batch, ascii=ascii)
    parsed = [json.loads(line) for line in made.splitlines()]
    assert made.decode("ascii" if ascii else "utf-8").count("\n") == batch.rows == len(parsed)
    rows = batch.to_arrow()
    for name in rows.schema.names:
        said = [row[name] for row in parsed]
        if rows.schema.field(name).type == pa.float32():  # in as few digits as tell it apart
            said = [None if v is None else float(np.float32(v)) for v in said]
        assert said == [plain(v) for v in rows.column(name).to_pylist()]
    assert all(row["topic"] == batch.topic for row in parsed)


def plain(value: object) -> object:
    """``value`` as JSON can say it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@given(batches(), st.booleans(), st.booleans(), st.integers(0, 200))
def test_text_is_one_bounded_line_a_row(
    batch: Batch, colour: bool, ascii: bool, width: int
) -> None:
    """As many lines as rows, none wider than asked for, in the encoding asked for."""
    made = lines.text(batch, width=width, colour=colour, ascii=ascii)
    shown = re.sub("\x1b\\[[0-9]+m", "", made.decode("ascii" if ascii else "utf-8"))
    assert shown.count("\n") == batch.rows
    assert all(len(line) <= max(width, 40) for line in shown.split("\n"))


def rows_of(values: list[object], kind: str) -> Batch:
    """Rows with one column ``x`` of texts or bytes."""
    batch = counting("a.b", len(values))
    column = pa.array(values, pa.binary() if kind == "binary" else pa.string())
    if kind == "text":
        column = column.dictionary_encode()
    return batch.without(["n"]).with_columns({Field("x", kind): column})


COMMANDS = [
    *map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F]),
    *map(chr, [*range(0x2028, 0x202F), *range(0x2066, 0x206A)]),
]


@pytest.mark.parametrize("kind", TEXT)
def test_each_character_that_commands(kind: str) -> None:
    """Control characters, line separators and marks of direction are all written as codes."""
    content = [f"a{c}".encode() if kind == "binary" else f"a{c}" for c in COMMANDS]
    batch = rows_of([*content], kind)
    for made in (lines.text(batch), lines.ndjson(batch)):
        shown = made.decode()
        assert not set(COMMANDS) & set(shown.replace("\n", ""))
        assert shown.count("\n") == len(COMMANDS)
    assert [json.loads(x)["x"] for x in lines.ndjson(batch).splitlines()] == [
        f"a{c}" for c in COMMANDS
    ]


@pytest.mark.parametrize("kind", TEXT)
@given(value=st.text(st.sampled_from([*COMMANDS, *'a ="\\é€😀']), max_size=8))
def test_no_value_commands_the_terminal(kind: str, value: str) -> None:
    """Whatever a text holds: no control character, no line break, no turn of direction."""
    content: object = value.encode() if kind == "binary" else value
    batch = rows_of([content, None, "plain" if kind != "binary" else b"plain"], kind)
    for made in (lines.text(batch), lines.ndjson(batch), lines.text(batch, colour=True)):
        shown = re.sub("\x1b\\[[0-9]+m", "", made.decode())
        assert shown.count("\n") == len(shown.splitlines()) == 3
        assert not set(COMMANDS) & set(shown.replace("\n", ""))
    assert json.loads(lines.ndjson(batch).splitlines()[0])["x"] == value


def test_what_a_line_looks_like() -> None:
    """Time, severity, topic, then name=value; quotes only where they must be; null left out."""
    table = EntityTable()
    code = table.add("x", {"k8s.pod.name": "web-1"})
    batch = counting("process.exec", 2, severity=17, comm=["bash", "a b"])
    batch = batch.with_columns(
        {
            Field("argv", "string"): pa.array(['say "hi"\x1b[2J', None]),
            Field("ok", "bool"): np.array([True, False]),
            Field("load", "float64"): np.array([0.5, math.nan]),
            ENTITY: np.array([code, -1], np.int32),
        },
        table,
    )
    assert lines.text(batch).decode().split("\n") == [
        "2023-11-14T22:13:20.000Z ERROR process.exec n=0 comm=bash "
        'argv="say \\"hi\\"\\u001b[2J" ok=true load=0.5 k8s.pod.name=web-1',
        '2023-11-14T22:13:20.001Z ERROR process.exec n=1 comm="a b" ok=false load=nan',
        "",
    ]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("", '""'),
        ("a", "a"),
        ("a=b", '"a=b"'),
        ("a,b/c:d", "a,b/c:d"),
        ("two words", '"two words"'),
        ("back\\slash", '"back\\\\slash"'),
        ("é€😀", "é€😀"),
        ("no\xa0break", '"no\xa0break"'),
        ("\u202eevil", '"\\u202eevil"'),
        ("\x9b31m", '"\\u009b31m"'),
    ],
)
def test_quoting(value: str, cell: str) -> None:
    """A value is quoted where a reader, or a program that splits at spaces, would stumble."""
    assert lines.text(rows_of([value], "string")).decode().split("a.b ")[1] == f"x={cell}\n"


def test_ascii() -> None:
    """Where only ASCII can be shown, the rest is written as codes that JSON knows."""
    assert b'x="\\u00e9\\ud83d\\ude00"' in lines.text(rows_of(["é😀"], "text"), ascii=True)


@pytest.mark.parametrize(
    ("time_ns", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854Z"),
        (-(2**63), "1677-09-21T00:12:43.145Z"),
        (1_700_000_000_999_999_999, "2023-11-14T22:13:20.999Z"),
    ],
)
def test_times(time_ns: int, shown: str) -> None:
    """Any int64 is a time, however absurd."""
    batch = counting("a", 1).with_columns({COMMON[0]: np.array([time_ns])})
    assert lines.text(batch).decode().startswith(f"{shown} ")


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "-"),
        (1, "TRACE"),
        (8, "DEBUG"),
        (9, "INFO"),
        (16, "WARN"),
        (17, "ERROR"),
        (24, "FATAL"),
        (25, "-"),
        (255, "-"),
    ],
)
def test_severities(number: int, name: str) -> None:
    """Each number has its name, in its colour where there are colours."""
    batch = counting("a", 1, severity=number)
    assert lines.text(batch).decode()[25:].startswith(f"{name:<5} a n=0")
    painted = lines.text(batch, colour=True).decode()[25:]
    assert re.fullmatch(f"\x1b\\[(90|39|33|31|35)m{name:<5}\x1b\\[0m a n=0\n", painted)


def test_a_long_line_is_cut() -> None:
    """A line that is too long ends in dots at exactly the width; others are left alone."""
    batch = rows_of(["é" * 500, "short"], "string")
    first, second = lines.text(batch, width=80, colour=True).decode().splitlines()
    assert len(first) == 80 + lines.PAINT
    assert first.endswith("é...")
    assert second.endswith("x=short")


def test_no_rows() -> None:
    """An empty batch is no line."""
    empty: dict[str, Column] = {f.name: np.empty(0, f.type) for f in COMMON}
    assert lines.text(Batch(Schema("a", COMMON), empty)) == b""
    assert lines.ndjson(Batch(Schema("a", COMMON), empty)) == b""
