"""What a receiver answers: ``ExportLogsServiceResponse`` and ``google.rpc.Status``.

The first is {1 partial_success {1 rejected_log_records, 2 error_message}}, the second is
{1 code, 2 message, 3 details}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tapio.model.errors import DecodeError


class Partial(NamedTuple):
    """How many records were refused, and what was said; a warning where none was."""

    rejected: int
    message: str


def partial_success(data: bytes) -> Partial:
    """The partial success of a response; ``Partial(0, "")`` where it has none. DecodeError."""
    rejected, message = 0, ""
    for number, inner in fields(data):
        if number == 1 and isinstance(inner, bytes):
            for number, value in fields(inner):
                if number == 1 and isinstance(value, int):
                    rejected = value if value < 1 << 63 else 0  # an int64 below 0 says nothing
                elif number == 2 and isinstance(value, bytes):
                    message = value.decode(errors="replace")
    return Partial(rejected, message)


def status_message(data: bytes) -> str:
    """The message of a Status. DecodeError."""
    texts = [v for number, v in fields(data) if number == 2 and isinstance(v, bytes)]
    return texts[-1].decode(errors="replace") if texts else ""


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message: varints, and text or messages as bytes. DecodeError.

    Values of four and eight bytes are passed over: the answers have none.
    """
    at = 0
    while at < len(data):
        start = at
        key, at = _varint(data, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire_type == 2:
            size, at = _varint(data, at)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise DecodeError(f"wire type {wire_type} is none of protobuf 3", offset=start)
        if size > len(data) - at:
            raise DecodeError("a field is longer than its message", offset=start)
        if wire_type == 2:
            yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at ``at``, and where it ends; ten bytes at most, of 64 bits."""
    value = 0
    for shift in range(0, 70, 7):
        if at == len(data):
            raise DecodeError("the message ends in a number", offset=at)
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value & (1 << 64) - 1, at
    raise DecodeError("a number has more than ten bytes", offset=at - 10)
