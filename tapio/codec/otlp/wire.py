"""Protobuf's wire format: single values in Python, columns of integers in numpy.

A varint carries seven bits a byte, lowest first; the top bit of a byte says that more follow.
Groups of zeros may end it (``80 … 00``): decoders take any length up to ten bytes for a value
and up to five for a length. So a column is written at the one width that its largest value
needs, and all the rows of a batch keep one shape. That makes requests 3 % longer than the
shortest; neither a Collector nor the official Python classes take measurably longer for it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[Any]

_SPREAD: dict[int, tuple[Any, ...]] = {
    1: (np.uint8(0), ()),
    2: (np.uint16(0x80), ((np.uint16(0x3F80), np.uint16(1)),)),
    4: (
        np.uint32(0x808080),
        ((np.uint32(0xFFFC000), np.uint32(2)), (np.uint32(0x3F803F80), np.uint32(1))),
    ),
    8: (
        np.uint64(0x80808080808080),
        (
            (np.uint64(0xFFFFFFF0000000), np.uint64(4)),
            (np.uint64(0xFFFC0000FFFC000), np.uint64(2)),
            (np.uint64(0x3F803F803F803F80), np.uint64(1)),
        ),
    ),
}
"""By width: the top bits that say that more follows; which bits move up, and how far.

Halves move apart first, then quarters, until there are seven bits in each byte.
"""


_WIDTHS = [next((w for w in _SPREAD if bits <= 7 * w), 10) for bits in range(65)]
_LOW_56, _NINTH = np.uint64((1 << 56) - 1), np.uint64(0x80 << 56)


def varint(value: int) -> bytes:
    """``value`` (≥ 0) as the shortest varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire_type: int = 2) -> bytes:
    """What precedes a field; wire types: 0 varint, 1 eight bytes, 2 length-delimited."""
    return varint(number << 3 | wire_type)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field: text, bytes or a message."""
    return tag(number) + varint(len(payload)) + payload


def width(largest: int) -> int:
    """The bytes that ``varints`` needs for values up to ``largest``: 1, 2, 4 or 8; 10 beyond."""
    return _WIDTHS[largest.bit_length()]


def varints(values: Numbers, width: int) -> tuple[Numbers, ...]:
    """``values`` (integers) as varints of ``width`` bytes (1, 2, 4, 8 or 10) each.

    Returned as one unsigned little-endian array; as two for ten bytes: eight of them, which
    hold the low 56 bits, then two. A negative value is its two's complement. Values that are
    of that unsigned type already are written over.
    """
    if width < 10:
        return (_spread(values.astype(f"<u{width}", copy=False), width),)
    bits = values.astype("<u8", copy=False)
    high = (bits >> np.uint64(56)).astype("<u2")
    bits &= _LOW_56
    return _spread(bits, 8) | _NINTH, _spread(high, 2)


def _spread(bits: Numbers, width: int) -> Numbers:
    """``bits`` (below 2^(7·width)), in place, with 7 bits a byte, each byte but the last marked."""
    more, moves = _SPREAD[width]
    for moving, by in moves:
        moved = bits & moving
        bits ^= moved
        moved <<= by
        bits |= moved
    bits |= more
    return bits
