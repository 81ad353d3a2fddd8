"""Re-batching for one sink: bounds, age, urgency, ids, order, and who answers for the rows."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.engine.parcel import Parcel
from tapio.engine.seal import Sealer
from tapio.model.entities import EntityTable
from tapio.model.schema import ERROR, INFO
from tapio.model.stage import Sink
from tapio.model.ticket import Outcome
from tests.batches import counting
from tests.engine.rows import Fates, about, batch, numbers


def sealer(**options: Any) -> Sealer:
    """A sealer whose ids count from 1."""
    ids = count(1)
    return Sealer(Sink(**options), lambda: f"id-{next(ids)}")


def sealed(sealer: Sealer) -> list[list[int]]:
    """The rows of each batch that is ready."""
    return [numbers([p.batch]) for p in sealer.ready]


def settle(sealer: Sealer, outcome: Outcome = Outcome.DONE) -> None:
    """Settle all that the sealer holds."""
    for left in sealer.sweep():
        left.ticket.settle(outcome)


def test_full_batches_are_sealed_at_max_rows() -> None:
    """Rows are cut and joined to batches of ``max_rows``, in order; the rest waits."""
    one, fates = sealer(max_rows=4), Fates()
    one.push(fates.parcel(batch(3)), 0)
    one.push(fates.parcel(batch(7, 3)), 0)
    assert sealed(one) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert sorted(one.held()) == [("s", 2), ("s", 4), ("s", 4)]
    settle(one)
    assert fates == [Outcome.DONE] * 2


def test_full_batches_are_sealed_at_max_bytes() -> None:
    """No sealed batch is larger than ``max_bytes``, except one of one row."""
    row = batch(1).size
    one, fates = sealer(max_bytes=3 * row), Fates()
    one.push(fates.parcel(batch(7)), 0)
    assert sealed(one) == [[0, 1, 2], [3, 4, 5]]
    one.drain()
    assert sealed(one)[2:] == [[6]]
    settle(one)
    tiny = sealer(max_bytes=1)
    tiny.push(fates.parcel(batch(2)), 0)
    tiny.drain()
    assert sealed(tiny) == [[0], [1]]
    settle(tiny)


def test_a_batch_that_waits_is_sealed_at_max_age() -> None:
    """The oldest row waits ``max_age_s`` and no longer."""
    one, fates = sealer(max_age_s=0.5), Fates()
    one.push(fates.parcel(1), 10.0)
    one.push(fates.parcel(1), 10.4)
    assert one.due() == 10.5
    one.tick(10.49)
    assert not one.ready
    one.tick(10.5)
    assert sealed(one) == [[0, 0]]
    assert one.due() is None
    settle(one)


def test_an_urgent_row_seals_at_once() -> None:
    """Rule 10: a row of severity ≥ error seals its sink's batch, with what waited before it."""
    one, fates = sealer(), Fates()
    one.push(fates.parcel(batch(2)), 0)
    one.push(fates.parcel(batch(2, 2, [INFO, ERROR])), 0)
    assert sealed(one) == [[0, 1, 2, 3]]
    settle(one)


def test_what_cannot_be_one_batch_is_sealed_apart() -> None:
    """Rules 9 and 10: no batch mixes sources, topics, entity tables, or who would give it again."""
    one, fates, table = sealer(), Fates(), EntityTable()
    table.add("e", {"k": "v"})
    other = EntityTable()
    other.add("e", {"k": "v"})
    for content, source in [
        (batch(1), "a"),
        (batch(1), "b"),
        (counting("test.other", 1), "a"),
        (about(batch(1), table), "a"),
        (about(batch(1), other), "a"),
        (about(batch(1), table), "a"),
    ]:
        one.push(fates.parcel(content, source), 0)
    one.push(fates.parcel(batch(1), "a", replayable=True), 0)
    one.drain()
    assert sorted(p.rows for p in one.ready) == [1, 1, 1, 1, 1, 2]
    assert {p.batch.entities for p in one.ready} == {None, table, other}
    settle(one)


def test_each_sealed_batch_has_an_id_of_its_own() -> None:
    """Rule 16: ids are given at the sealing, once; halves get new ones."""
    one, fates = sealer(max_rows=4), Fates()
    one.push(fates.parcel(8), 0)
    first = one.ready.popleft()
    halves = one.halve(first)
    ids = [first.batch.id, one.ready[0].batch.id, *(h.batch.id for h in halves)]
    assert len(set(ids)) == 4
    assert [numbers([h.batch]) for h in halves] == [[0, 1], [2, 3]]
    for half in halves:
        half.ticket.settle(Outcome.DONE)
    settle(one)
    assert fates == [Outcome.DONE]


def test_a_batch_cut_into_thousands_settles_once() -> None:
    """Rule 8: however often a batch is cut, its ticket settles with the last and the worst."""
    one, fates = sealer(max_rows=10), Fates()
    one.push(fates.parcel(65_536), 0)
    one.drain()
    assert len(one.ready) == 6554
    one.ready.popleft().ticket.settle(Outcome.RETRY)
    assert fates == []
    settle(one)
    assert fates == [Outcome.RETRY]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 30), st.booleans(), st.booleans()), max_size=20),
    max_rows=st.integers(1, 40),
    max_bytes=st.integers(1, 2000),
)
@pytest.mark.timeout(120)
def test_nothing_is_lost_doubled_or_put_out_of_order(
    sizes: list[tuple[int, bool, bool]], max_rows: int, max_bytes: int
) -> None:
    """Rules 8 and 18: each row comes out once, in order, within bounds, and settles its ticket."""
    one, fates, first = sealer(max_rows=max_rows, max_bytes=max_bytes), Fates(), 0
    ready: list[Parcel] = []
    for at, (rows, hot, tick) in enumerate(sizes):
        one.push(fates.parcel(batch(rows, first, ERROR if hot else INFO)), at)
        first += rows
        if tick:
            one.tick(at)
        assert sum(n for _, n in one.held()) + sum(p.rows for p in ready) == first
        if hot:
            assert len(list(one.parcels())) == len(one.ready)
        ready += one.ready
        one.ready.clear()
    one.drain()
    ready += one.ready
    one.ready.clear()
    assert numbers([p.batch for p in ready]) == list(range(first))
    assert all(p.rows <= max_rows for p in ready)
    assert all(p.batch.size <= max_bytes for p in ready if p.rows > 1)
    for at, parcel in enumerate(ready):
        parcel.ticket.settle(Outcome.RETRY if at % 3 else Outcome.DONE)
    assert len(fates) == len(sizes)
