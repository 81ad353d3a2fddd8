"""SeverityNumber → the two severity fields of a log record."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tapio.codec.otlp.gather import inline
from tapio.codec.otlp.vocabulary import Coded
from tapio.codec.otlp.wire import field, tag, varint

NUMBER, TEXT = 2, 3
"""``severity_number``, ``severity_text``."""

_NAMES = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")


def severity_text(number: int) -> str:
    """The short name: 9 is INFO, 10 is INFO2; "" for 0 and above 24, which have none."""
    if not 1 <= number <= 24:
        return ""
    name, step = _NAMES[(number - 1) // 4], (number - 1) % 4
    return f"{name}{step + 1}" if step else name


def _fields(number: int) -> bytes:
    """Ten bytes at most. The text stands there even if it is empty: it ends the padding."""
    return tag(NUMBER, 0) + varint(number) + field(TEXT, severity_text(number).encode())


_ALL = [_fields(number) for number in range(256)]
_SIZES = np.array([len(one) for one in _ALL], np.int32)
_VIEWS = inline(
    np.frombuffer(b"".join(one.ljust(10) for one in _ALL), np.uint8).reshape(256, 10), _SIZES
)


def severities(column: npt.NDArray[np.uint8]) -> Coded:
    """A column of SeverityNumbers as the fields' bytes, which stand in the views themselves."""
    return Coded(column, _VIEWS, _SIZES)
