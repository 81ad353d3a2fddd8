"""The ring's format: what is taken, what waits, and that no bytes do harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.codec import ringbuf
from tapio.codec.ringbuf import BUSY, DISCARD
from tapio.model.errors import DecodeError

SIZE = 1 << 10
ROW = np.dtype([("n", "<u8"), ("text", "S4")])  # 12 bytes: a stride of 24


class Producer:
    """Writes records as the kernel does, into a ring that starts anywhere."""

    def __init__(self, start: int = 0) -> None:
        self.consumer = self.producer = start
        self.data = np.zeros(2 * SIZE, np.uint8)
        self.data[:] = 0xFF  # what was in the ring before

    def write(self, payload: bytes, flags: int = 0) -> None:
        """Commit one record, or with flags leave it busy or discard it."""
        whole = (len(payload) | flags).to_bytes(4, "little") + bytes(4) + payload
        whole += bytes(ringbuf.stride(len(payload)) - len(whole))
        assert self.producer - self.consumer + len(whole) <= SIZE
        for index, byte in enumerate(whole):
            at = (self.producer + index) % SIZE
            self.data[at] = self.data[at + SIZE] = byte
        self.producer += len(whole)

    def drain(self, most: int = 100) -> tuple[list[tuple[int, bytes]], int]:
        """Take what there is, as a reader does: rows, and how many records were no rows."""
        found = ringbuf.span(self.data, self.consumer, self.producer, ROW.itemsize, most)
        at = self.consumer % SIZE
        taken = self.data[at : at + found.bytes].copy()
        self.consumer += found.bytes
        rows, malformed = ringbuf.rows(taken, found, ROW)
        return [(int(row["n"]), bytes(row["text"])) for row in rows], malformed

    def drain_all(self) -> tuple[list[tuple[int, bytes]], int]:
        """Drain until nothing comes any more."""
        rows, malformed, before = [], 0, -1
        while before != self.consumer:
            before = self.consumer
            more, odd = self.drain()
            rows += more
            malformed += odd
        return rows, malformed


def row(n: int) -> bytes:
    """A record of one row."""
    return n.to_bytes(8, "little") + b"abc\0"


@given(st.integers(0, 1 << 40), st.lists(st.integers(0, 2), max_size=40), st.integers(1, 50))
def test_rows_come_in_order_up_to_the_first_that_is_busy(
    start: int, kinds: list[int], most: int
) -> None:
    """Good, discarded and busy records in any order, anywhere in the ring, any most."""
    ring = Producer(start * 8)
    for n, kind in enumerate(kinds):
        ring.write(row(n), (0, DISCARD, BUSY)[kind])
    ready = kinds[: kinds.index(2)] if 2 in kinds else kinds
    expected = [(n, b"abc") for n, kind in enumerate(ready[:most]) if kind == 0]
    assert ring.drain(most) == (expected, ready[:most].count(1))


@given(st.lists(st.sampled_from([0, 3, 8, 12, 12, 12, 13, 40]), max_size=20), st.booleans())
def test_records_of_other_lengths_are_walked_over(lengths: list[int], busy: bool) -> None:
    """Rows among records of other lengths are found, the others counted; busy still stops."""
    ring = Producer(SIZE - 48)
    for n, length in enumerate(lengths):
        ring.write(row(n) if length == 12 else bytes([0x0C]) * length)
    if busy:
        ring.write(row(99), BUSY)
    expected = [(n, b"abc") for n, length in enumerate(lengths) if length == 12]
    assert ring.drain_all() == (expected, len(lengths) - len(expected))


def test_a_payload_that_looks_like_headers_is_not_taken_for_any() -> None:
    """A long record full of valid-looking headers is one record."""
    ring = Producer()
    ring.write(row(1))
    ring.write((12).to_bytes(4, "little") * 24)
    ring.write(row(2))
    assert ring.drain() == ([(1, b"abc"), (2, b"abc")], 1)


def test_what_was_busy_is_taken_once_it_is_committed() -> None:
    """A record that held up the ring comes next time, with those behind it."""
    ring = Producer()
    ring.write(row(1), BUSY)
    ring.write(row(2))
    assert ring.drain() == ([], 0)
    ring.data[[3, SIZE + 3]] = 0  # the flags are in the header's highest byte
    assert ring.drain() == ([(1, b"abc"), (2, b"abc")], 0)
    assert ring.drain() == ([], 0)


def test_a_full_ring_is_drained_whole() -> None:
    """Every byte of the ring, wherever it begins."""
    ring = Producer(8 * 13)
    for n in range(SIZE // 24):
        ring.write(row(n))
    assert [n for n, _ in ring.drain()[0]] == list(range(SIZE // 24))


def test_the_fast_path_copies_nothing() -> None:
    """Rows of one length are a view of the bytes that were taken, a busy record behind or not."""
    ring = Producer()
    for n in range(3):
        ring.write(row(n))
    found = ringbuf.span(ring.data, 0, ring.producer, ROW.itemsize, 10)
    taken = ring.data[: found.bytes].copy()
    rows, _ = ringbuf.rows(taken, found, ROW)
    assert np.shares_memory(rows, taken)
    assert (found.even, found.whole, found.records) == (True, True, 3)
    ring.write(row(3), BUSY)
    assert ringbuf.span(ring.data, 0, ring.producer, ROW.itemsize, 10) == found


@pytest.mark.parametrize("ahead", [-8, SIZE + 8, 1 << 62])
def test_positions_that_are_no_rings_are_refused(ahead: int) -> None:
    """A producer behind the consumer, or more than a ring ahead of it."""
    with pytest.raises(DecodeError, match="positions"):
        ringbuf.span(np.zeros(2 * SIZE, np.uint8), 800, 800 + ahead, 12, 10)


@given(
    st.binary(min_size=SIZE, max_size=SIZE),
    st.integers(0, SIZE).map(lambda n: n * 8),
    st.integers(0, SIZE // 8).map(lambda n: n * 8),
    st.sampled_from([0, 1, 4, 12, 100]),
)
def test_any_bytes_are_rows_or_an_error(
    data: bytes, consumer: int, waiting: int, length: int
) -> None:
    """A ring of any content is drained within itself, or refused with DecodeError."""
    ring = np.frombuffer(data + data, np.uint8)
    dtype = np.dtype(f"V{length}") if length else np.dtype([])
    try:
        found = ringbuf.span(ring, consumer, consumer + waiting, length, 50)
    except DecodeError:
        return
    assert 0 <= found.bytes <= waiting
    assert found.records <= 50
    start = consumer % SIZE
    rows, malformed = ringbuf.rows(ring[start : start + found.bytes], found, dtype)
    assert len(rows) + malformed == found.records


def test_random_bytes_find_what_a_naive_reader_finds() -> None:
    """Against a reader that takes one header after another, on rings of random headers."""
    random = np.random.default_rng(5)
    for _ in range(300):
        ring = Producer(int(random.integers(0, 1000)) * 8)
        kinds = random.choice([0, DISCARD, BUSY], 30, p=[0.85, 0.1, 0.05])
        lengths = random.choice([12, 12, 12, 20], 30)
        for n, (kind, length) in enumerate(zip(kinds, lengths, strict=True)):
            ring.write(row(n).ljust(int(length), b"x"), int(kind))
        expected = naive(ring.data, ring.consumer, ring.producer)
        assert ring.drain_all() == expected


def naive(data: np.ndarray, at: int, end: int) -> tuple[list[tuple[int, bytes]], int]:
    """The rows in front of the first busy record, read one by one."""
    rows, malformed = [], 0
    raw = data.tobytes()
    while at < end:
        start = at % SIZE
        head = int.from_bytes(raw[start : start + 4], "little")
        if head & BUSY:
            break
        length = head & ~DISCARD
        if head == ROW.itemsize:
            body = raw[start + 8 : start + 20]
            rows.append((int.from_bytes(body[:8], "little"), body[8:].rstrip(b"\0")))
        else:
            malformed += 1
        at += ringbuf.stride(length)
    return rows, malformed
