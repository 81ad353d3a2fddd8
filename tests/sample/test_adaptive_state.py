"""``adaptive`` after a restart: it goes on as it was, or says that it cannot."""

from __future__ import annotations

from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio.model.errors import DecodeError
from tapio.model.stage import Snapshot
from tapio.sample import adaptive
from tapio.sample.adaptive import Adaptive, Sampler
from tests.sample.context import context
from tests.sample.flow import SECOND, rows, run, steady

UNEVEN = {("a.b", 0): 4000.0, ("a.b", 1): 400.0, ("a.b", 2): 5.0, ("c.d", 0): 900.0}


def start(seed: int = 0, target_per_s: float = 100, max_strata: int = 64) -> Sampler:
    """A running sampler."""
    spec = Adaptive(target_per_s, seed=seed, max_strata=max_strata)
    stage = spec.start(context())
    assert isinstance(stage, Sampler)
    return stage


def test_goes_on_from_a_snapshot() -> None:
    """A restored sampler keeps the very rows that it would have kept without the restart."""
    moments = steady(UNEVEN, 8)
    never = start(7)
    whole = run(never, moments)
    before = start(7)
    run(before, moments[:150])
    after = start(99)
    assert isinstance(after, Snapshot)
    after.restore(before.snapshot())
    rest = run(after, moments[150:])
    assert [b["seq"].tolist() for b in rest] == [b["seq"].tolist() for b in whole[150:]]
    assert [b.weights.tolist() for b in rest] == [b.weights.tolist() for b in whole[150:]]


def test_a_snapshot_of_more_strata_fits() -> None:
    """With fewer strata than were saved, the largest are taken."""
    stage, small = start(target_per_s=1e9), start(max_strata=3)
    run(stage, [(SECOND, rows("a.b", [0, 1, 1, 2, 2, 2]))])
    small.restore(stage.snapshot())
    assert [rows_left for *_, rows_left in small._strata.counts()] == [3.0, 2.0]


def snapshot() -> bytes:
    """The state of a sampler that has seen something."""
    stage = start()
    run(stage, steady(UNEVEN, 0.5))
    return stage.snapshot()


GOOD = snapshot()


@settings(deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_damaged_snapshot_is_refused(at, change) -> None:
    """One changed byte anywhere is a DecodeError, and the sampler stays as it was."""
    refused(GOOD[:at] + bytes([GOOD[at] ^ change]) + GOOD[at + 1 :])


@settings(deadline=None)
@given(st.binary(max_size=300) | st.integers(0, len(GOOD) - 1).map(lambda size: GOOD[:size]))
def test_what_is_no_snapshot_is_refused(state) -> None:
    """Any other bytes, and any cut snapshot, are a DecodeError."""
    refused(state)
    refused(sealed(state))


@pytest.mark.parametrize(
    "change",
    [
        {"filling": float("nan")},
        {"filling": -7.0},
        {"age_s": -1.0},
        {"age_s": float("inf")},
        {"strata": [("a.b", b"x" * 8, -1.0)]},
        {"strata": [("a.b", b"x" * 8, float("inf"))]},
        {"strata": [("a.b", b"x" * 900, 1.0)]},
        {"random": b"short"},
        {"now_ns": "then"},
    ],
)
def test_impossible_numbers_are_refused(change) -> None:
    """A snapshot with a right checksum and wrong content is refused too."""
    body = GOOD[len(adaptive._MAGIC) + 4 :]
    saved = msgspec.msgpack.decode(body, type=adaptive.Saved)
    refused(sealed(msgspec.msgpack.encode(msgspec.structs.replace(saved, **change))))


def sealed(body: bytes) -> bytes:
    """``body`` as a snapshot's, with the checksum that it should have."""
    return adaptive._MAGIC + crc32(body).to_bytes(4, "little") + body


def refused(state: bytes) -> None:
    """Assert that ``state`` is refused and has changed nothing."""
    stage = start()
    before = stage.snapshot()
    with pytest.raises(DecodeError):
        stage.restore(state)
    assert stage.snapshot() == before
