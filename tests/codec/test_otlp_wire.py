"""Varints by columns."""

import numpy as np
import pytest
from google.protobuf.internal.decoder import _DecodeVarint
from hypothesis import given
from hypothesis import strategies as st

from tapio.codec.otlp.wire import field, varint, varints, width

EDGES = [0, 1, *(1 << 7 * n for n in range(1, 10)), *((1 << 7 * n) - 1 for n in range(1, 10))]
UINT64 = st.sampled_from([*EDGES, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]) | st.integers(
    0, (1 << 64) - 1
)


def joined(arrays: tuple[np.ndarray, ...], row: int) -> bytes:
    """The bytes of one row."""
    return b"".join(a[row].tobytes() for a in arrays)


@given(st.lists(UINT64, min_size=1, max_size=20))
def test_columns_decode_to_their_values(values: list[int]) -> None:
    """A column of varints, at the width of its largest, decodes to its values."""
    wide = width(max(values))
    arrays = varints(np.array(values, np.uint64), wide)
    for row, value in enumerate(values):
        assert _DecodeVarint(joined(arrays, row), 0) == (value, wide)


@pytest.mark.parametrize("value", [*EDGES, (1 << 64) - 1])
def test_a_single_value_is_shortest(value: int) -> None:
    """A varint made in Python decodes to its value and has no byte to spare."""
    data = varint(value)
    assert _DecodeVarint(data, 0) == (value, max(1, -(-value.bit_length() // 7)))
    assert len(data) == max(1, -(-value.bit_length() // 7))


@pytest.mark.parametrize("bytes_", [1, 2, 4, 8])
def test_widths_change_at_seven_bits_a_byte(bytes_: int) -> None:
    """The largest value of a width fits it and the next does not."""
    assert width((1 << 7 * bytes_) - 1) == bytes_
    assert width(1 << 7 * bytes_) > bytes_


def test_negative_values_are_two_s_complement() -> None:
    """-1 is ten bytes, as protobuf's int64 has it."""
    arrays = varints(np.array([-1, 3], np.int32).astype(np.int64), 10)
    assert joined(arrays, 0) == b"\xff" * 9 + b"\x01"
    assert joined(arrays, 1) == b"\x83" + b"\x80" * 8 + b"\x00"


def test_a_field_is_tag_length_payload() -> None:
    """Field 12 of 130 bytes: its length takes two."""
    assert field(12, b"x" * 130) == b"\x62\x82\x01" + b"x" * 130
