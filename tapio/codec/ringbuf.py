"""The BPF ring buffer's format, on bytes: how much can be taken, and the rows in it.

A ring is a power of two of bytes, mapped twice in a row so that no record wraps. Positions only
grow; position p lies at p & (size - 1). A record is a u32 length with two flags (``BUSY``: still
being written; ``DISCARD``: given up), a u32 that is the kernel's own, the payload, and padding
to a multiple of 8 (Linux: Documentation/bpf/ringbuf.rst). Headers in front of the producer's
position are always valid, and a reader stops at the first that is busy.

A drain is: ``span`` reads the headers in the ring, the caller copies that span away and stores
the consumer position, ``rows`` views the copy. Where every record has the expected length, both
are one strided numpy operation; else the records are walked one by one, about 100 times slower.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tapio.model.errors import DecodeError

BUSY = 1 << 31
DISCARD = 1 << 30
HEADER = 8

Bytes: TypeAlias = npt.NDArray[np.uint8]


class Span(NamedTuple):
    """What can be taken now: ``bytes`` from the consumer position on, holding ``records``.

    ``even``: each has the expected length. ``whole``: none is a discarded one.
    """

    bytes: int
    records: int
    even: bool
    whole: bool


def stride(length: int) -> int:
    """Bytes that a record of ``length`` bytes of payload takes in a ring."""
    return (length + HEADER + 7) & ~7


def span(data: Bytes, consumer: int, producer: int, length: int, most: int) -> Span:
    """The committed records from ``consumer`` up to the first that is busy; at most ``most``.

    ``data`` is the ring mapped twice. Raises DecodeError where positions or a header cannot
    be a ring's; then nothing should be taken.
    """
    size = len(data) // 2
    start, waiting = consumer & (size - 1), producer - consumer
    if not 0 <= waiting <= size:
        raise DecodeError(f"ring positions {consumer} and {producer} are not {size} apart or less")
    step = stride(length)
    count = min(waiting // step, most)
    if count:
        heads = np.ndarray((count,), np.uint32, data, start, (step,))
        wrong = heads != length
        first = int(wrong.argmax())
        if not wrong[first]:
            return Span(count * step, count, True, True)
        # By induction each header up to the first other one is a header.
        ended = (heads & ~np.uint32(DISCARD)) != length
        even = int(ended.argmax())
        if not ended[even]:
            return Span(count * step, count, True, False)
        if heads[even] & BUSY:
            return Span(even * step, even, True, even == first)
    elif waiting == 0 or most == 0:
        return Span(0, 0, True, True)
    return _walked(data, start, waiting, length, most)


def _walked(data: Bytes, start: int, waiting: int, length: int, most: int) -> Span:
    """As ``span``, header by header."""
    at = records = 0
    even = whole = True
    heads = data.view(np.uint32)
    while at < waiting and records < most:
        head = int(heads[(start + at) >> 2])
        if head & BUSY:
            break
        kept = head & (DISCARD - 1)
        if at + stride(kept) > waiting:
            raise DecodeError(f"a record of {kept} bytes reaches beyond the ring's end", offset=at)
        even &= kept == length
        whole &= not head & DISCARD
        at += stride(kept)
        records += 1
    return Span(at, records, even, whole)


def rows(taken: Bytes, found: Span, dtype: np.dtype[Any]) -> tuple[npt.NDArray[Any], int]:
    """The records of ``dtype`` in ``taken`` (the bytes of ``found``), and how many are not rows.

    A view of ``taken`` where each record has the expected length and none is discarded, else a
    copy. A record that is discarded or of another length is no row.
    """
    step = stride(dtype.itemsize)
    if found.even:
        view = np.ndarray((found.records,), dtype, taken, HEADER if found.records else 0, (step,))
        if found.whole:
            return view, 0
        heads = np.ndarray((found.records,), np.uint32, taken, 0, (step,))
        kept = view[(heads & DISCARD) == 0]
        return kept, found.records - len(kept)
    return _picked(taken, found, dtype)


def _picked(taken: Bytes, found: Span, dtype: np.dtype[Any]) -> tuple[npt.NDArray[Any], int]:
    """The records of one length among others, copied together."""
    heads = taken.view(np.uint32)
    picked = bytearray()
    at = 0
    for _ in range(found.records):
        head = int(heads[at >> 2])
        if head == dtype.itemsize:
            picked += taken[at + HEADER : at + HEADER + head].data
        at += stride(head & (DISCARD - 1))
    made = np.frombuffer(picked, dtype)
    return made, found.records - len(made)
