"""Protobuf's wire format: single values in Python, columns of integers in numpy.

A varint carries seven bits a byte, lowest first; the top bit of a byte says that more follow.
Groups of zeros may end it (``80 … 00``): decoders take any length up to ten bytes for a value
and up to five for a length. So a column is written at the one width that its largest value
needs, and all the rows of a batch keep one shape.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[Any]

_SPREAD: dict[int, tuple[tuple[int, int], ...]] = {
    1: (),
    2: ((0x3F80, 1),),
    4: ((0xFFFC000, 2), (0x3F803F80, 1)),
    8: ((0xFFFFFFF0000000, 4), (0xFFFC0000FFFC000, 2), (0x3F803F803F803F80, 1)),
}
"""How 7-bit groups move apart into bytes: which bits move up, and how far."""

_MORE = {1: 0, 2: 0x80, 4: 0x808080, 8: 0x80808080808080}
"""The top bits that say that more bytes follow."""


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
    return next((bytes_ for bytes_ in _SPREAD if largest < 1 << 7 * bytes_), 10)


def varints(values: Numbers, width: int) -> tuple[Numbers, ...]:
    """``values`` (integers) as varints of ``width`` bytes (1, 2, 4, 8 or 10) each.

    Returned as one unsigned little-endian array; as two for ten bytes: eight of them, which
    hold the low 56 bits, then two. A negative value is its two's complement.
    """
    if width < 10:
        return (_spread(values.astype(f"<u{width}"), width),)
    bits = values.astype("<u8")
    high = (bits >> np.uint64(56)).astype("<u2")
    bits &= np.uint64((1 << 56) - 1)
    return _spread(bits, 8) | np.uint64(0x80 << 56), _spread(high, 2)


def _spread(bits: Numbers, width: int) -> Numbers:
    """``bits`` (below 2^(7·width)), in place, with 7 bits a byte, each byte but the last marked."""
    kind = bits.dtype.type
    for moving, by in _SPREAD[width]:
        moved = bits & kind(moving)
        bits ^= moved
        moved <<= kind(by)
        bits |= moved
    bits |= kind(_MORE[width])
    return bits
