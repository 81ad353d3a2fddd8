"""Kernel text: trimmed, put right where it is no UTF-8, and counted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.codec import text

WIDTH = 20
PARTS = st.sampled_from([b"a", b"\0", b" ", "ä".encode(), "🐟".encode(), b"\xff", b"\xc3", b"bc"])
VALUES = st.lists(
    st.lists(PARTS, max_size=12).map(lambda parts: b"".join(parts)[:WIDTH]), max_size=12
)


def column(values: list[bytes], width: int = WIDTH) -> np.ndarray:
    """The values in records of 32 bytes, as the kernel leaves them: rubbish around, none inside."""
    rows = np.zeros(len(values), np.dtype({"names": ["t"], "formats": [f"S{width}"],
                                           "offsets": [4], "itemsize": 32}))  # fmt: skip
    rows.view(np.uint8)[:] = 0xEE
    grid = np.frombuffer(b"".join(v.ljust(width, b"\0") for v in values), np.uint8)
    rows.view(np.uint8).reshape(len(values), 32)[:, 4 : 4 + width] = grid.reshape(-1, width)
    return rows["t"]


def said(values: list[bytes]) -> tuple[list[str], int]:
    """The texts, and how many of them were no UTF-8."""
    broken = 0
    for value in values:
        try:
            value.decode()
        except UnicodeDecodeError:
            broken += 1
    return [value.decode(errors="replace") for value in values], broken


@given(VALUES)
def test_coded_text_ends_at_the_first_nul(values: list[bytes]) -> None:
    """Coded text is what stands before the NUL, whatever stands behind it."""
    made = text.coded(column(values))
    assert (made.column.to_pylist(), made.replaced) == said([v.split(b"\0")[0] for v in values])
    assert len(set(made.column.dictionary.to_pylist())) == len(made.column.dictionary)
    made.column.validate(full=True)


@given(VALUES, st.data())
def test_strings_are_as_long_as_said(values: list[bytes], data: st.DataObject) -> None:
    """A string is the first bytes of its row, with spaces for NULs."""
    lengths = [data.draw(st.integers(0, WIDTH + 5)) for _ in values]
    made = text.strings(column(values), np.array(lengths, np.uint16))
    full = [v.ljust(WIDTH, b"\0")[:n] for v, n in zip(values, lengths, strict=True)]
    assert (made.column.to_pylist(), made.replaced) == said([v.replace(b"\0", b" ") for v in full])
    made.column.validate(full=True)


@given(VALUES)
def test_names_are_strings_coded(values: list[bytes]) -> None:
    """Names and coded text of the same bytes say the same."""
    rows = column(values)
    made = text.names(rows, text.lengths(rows))
    assert made.column.to_pylist() == text.coded(rows).column.to_pylist()
    assert made.column.type == pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize("width", [1, 4, 7])
def test_short_fields_are_coded_too(width: int) -> None:
    """A field may be shorter than an Arrow view's own bytes."""
    made = text.coded(column([b"x", b"", b"x" * width], width))
    assert made.column.to_pylist() == ["x", "", "x" * width]


def test_a_character_cut_in_two_does_not_join_the_next_row() -> None:
    """Each row is checked by itself, though all are checked together."""
    rows = column([b"x" * 15 + b"\xc3", b"\xa4" + b"y" * 15])
    made = text.strings(rows, np.array([16, 16]))
    assert (made.column.to_pylist(), made.replaced) == (["x" * 15 + "�", "�" + "y" * 15], 2)


def test_lengths_stop_at_the_first_nul() -> None:
    """The length of a full field is its width."""
    assert text.lengths(column([b"", b"abc", b"a\0b", b"z" * WIDTH])).tolist() == [0, 3, 1, WIDTH]
