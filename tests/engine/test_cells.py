"""Trunk cells: transforms, windows and lookups with their tickets and accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from tapio.engine.cells import Instant, Morgue, TransformCell
from tapio.engine.ledger import Ledger
from tapio.engine.parcel import Parcel
from tapio.engine.parking import LookupCell
from tapio.engine.windows import WindowCell
from tapio.model.batch import Batch
from tapio.model.policy import Parking
from tapio.model.schema import ERROR, INFO
from tapio.model.stage import Later
from tapio.model.ticket import Outcome
from tests.batches import counting
from tests.engine.rows import Fates, batch, numbers

DONE, RETRY = Outcome.DONE, Outcome.RETRY


def at(seconds: float) -> Instant:
    """That many seconds into the run."""
    return Instant(int(seconds * 1e9), seconds)


def bury(morgue: Morgue) -> list[int]:
    """The rows in the morgue, settled DONE."""
    rows = [d.parcel.rows for d in morgue.dead]
    for left in morgue.sweep():
        left.ticket.settle(DONE)
    return rows


def finish(parcels: Iterable[Parcel], outcome: Outcome = DONE) -> list[int]:
    """The rows of ``parcels``, settled."""
    found = list(parcels)
    for parcel in found:
        parcel.ticket.settle(outcome)
    return numbers([p.batch for p in found])


class Trunk:
    """What a cell needs around it."""

    def __init__(self) -> None:
        self.ledger, self.morgue, self.fates = Ledger(), Morgue(), Fates()

    def balance(self, cell: WindowCell | LookupCell, taken: int, source: str = "s") -> None:
        """Rule 2 holds for ``source``, of which so many rows were taken and went nowhere else."""
        account = self.ledger.trunk[source]
        held = sum(n for s, n in [*cell.held(), *self.morgue.held()] if s == source)
        assert taken == account.absorbed + account.dropped.total() + held


# transforms


@pytest.mark.parametrize("removed", ["filtered", "sampled_out"])
def test_rows_left_out_are_counted(removed: Any) -> None:
    """Rule 2: fewer rows out are filtered or sampled out; none left means DONE."""
    trunk = Trunk()
    cell = TransformCell("f", lambda b: b.where(b["n"] < 3), removed, trunk.ledger, trunk.morgue)
    out = cell.push(trunk.fates.parcel(batch(5)), at(0))
    assert finish(out) == [0, 1, 2]
    assert cell.push(trunk.fates.parcel(batch(5, 3)), at(0)) == []
    assert getattr(trunk.ledger.trunk["s"], removed) == 7
    assert trunk.fates == [DONE, DONE]


@pytest.mark.parametrize(
    "call",
    [
        lambda b: 1 / 0,
        lambda b: None,
        lambda b: Batch.concat([b, b]),
        lambda b: counting("another.topic", b.rows),
    ],
)
def test_a_transform_that_fails_dead_letters_its_batch(call: Callable[[Batch], Batch]) -> None:
    """Rule 21: an exception or a broken contract sends the whole batch to the dead letters."""
    trunk = Trunk()
    cell = TransformCell("f", call, "filtered", trunk.ledger, trunk.morgue)
    assert cell.push(trunk.fates.parcel(5), at(0)) == []
    assert list(trunk.morgue.held()) == [("s", 5)]
    assert bury(trunk.morgue) == [5]
    assert trunk.ledger.trunk["s"].filtered == 0


def test_ten_failures_in_a_row_are_a_stage_failure() -> None:
    """Rule 21: ten in a row; a success between begins anew."""
    trunk = Trunk()
    broken = True

    def call(batch: Batch) -> Batch:
        if broken:
            raise ValueError("no")
        return batch

    cell = TransformCell("f", call, "filtered", trunk.ledger, trunk.morgue)
    for fault in range(19):
        broken = fault != 9
        finish(cell.push(trunk.fates.parcel(1), at(0)))
    assert trunk.morgue.failure is None
    cell.push(trunk.fates.parcel(1), at(0))
    assert "stage f failed 10 times in a row, at last ValueError: no" in str(trunk.morgue.failure)
    bury(trunk.morgue)


# windows


class Gather:
    """A Window of at most ``rows`` rows, whose parts fail where a test says so."""

    hold_s = 1.0

    def __init__(self, rows: int = 100, emit: Callable[[list[Batch]], list[Batch]] = list) -> None:
        self.rows, self.emit = rows, emit
        self.got: list[Batch] = []

    def push(self, batch: Batch, now_ns: int) -> bool:
        """Full at ``rows``."""
        if 666 in batch["n"]:
            raise ValueError("push")
        self.got.append(batch)
        return self.held() >= self.rows

    def flush(self, now_ns: int) -> Iterable[Batch]:
        """What ``emit`` makes of all that was gathered."""
        got, self.got = self.got, []
        return self.emit(got)

    def held(self) -> int:
        """Rows gathered."""
        return sum(b.rows for b in self.got)


class Summary(Gather):
    """A Tap: one row for all that passed."""

    emits = "sums"


def summed(batches: list[Batch]) -> list[Batch]:
    """One row that stands for all."""
    return [counting("test.sum", 1, sum(b.rows for b in batches))]


def windows(trunk: Trunk, start: Callable[[], Any], *, regroups: bool = True) -> WindowCell:
    """A cell of such Windows, at trunk index 3, with a sampler at 6."""
    return WindowCell(
        "w", start, trunk.ledger, trunk.morgue, regroups=regroups, behind=4, behind_samplers=7
    )


def test_a_window_is_flushed_when_full_and_at_its_deadline() -> None:
    """``flush`` is called when push says so, and ``hold_s`` after the first push."""
    trunk = Trunk()
    cell = windows(trunk, lambda: Gather(4))
    assert cell.push(trunk.fates.parcel(batch(3)), at(0)) == []
    assert cell.due() == 1.0
    assert finish(cell.push(trunk.fates.parcel(batch(2, 3)), at(0.5))) == [0, 1, 2, 3, 4]
    assert cell.due() is None
    cell.push(trunk.fates.parcel(batch(1, 5)), at(0.7))
    assert cell.tick(at(1.6)) == []
    assert finish(cell.tick(at(1.7))) == [5]
    assert (cell.rows_in, cell.rows_out) == (6, 6)
    assert trunk.fates == [DONE] * 3
    trunk.balance(cell, 0)


def test_each_source_and_topic_has_a_window() -> None:
    """Rule 10: every batch has one source, whatever stands in one Window."""
    trunk = Trunk()
    cell = windows(trunk, Gather)
    for replayable in True, False:
        cell.push(trunk.fates.parcel(counting("z.z", 3), "w", replayable=replayable), at(0))
    out = cell.drain(at(0))
    assert {p.replayable for p in out} == {True, False}
    finish(out)
    for source in "ab":
        for topic in "x.x", "y.y":
            cell.push(trunk.fates.parcel(counting(topic, 1), source), at(0))
            cell.push(trunk.fates.parcel(counting(topic, 2), source), at(0))
    out = cell.drain(at(0))
    assert sorted((p.source, p.batch.topic, p.rows) for p in out) == sorted(
        (s, t, n) for s in "ab" for t in ("x.x", "y.y") for n in (1, 2)
    )
    finish(out)


def test_an_urgent_row_flushes_its_window() -> None:
    """Rule 10: a row of severity ≥ error flushes its Window, whatever push says."""
    trunk = Trunk()
    cell = windows(trunk, Gather)
    cell.push(trunk.fates.parcel(batch(2)), at(0))
    out = cell.push(trunk.fates.parcel(batch(2, 2, [INFO, ERROR])), at(0))
    assert [p.urgent for p in out] == [False, True]
    assert finish(out) == [0, 1, 2, 3]


def test_all_tickets_of_a_flush_settle_with_its_worst() -> None:
    """Rules 8 and 10: one RETRY among what came out is RETRY for all that went in."""
    trunk = Trunk()
    cell = windows(trunk, Gather)
    for _ in range(3):
        cell.push(trunk.fates.parcel(2), at(0))
    first, *rest = cell.drain(at(0))
    finish(rest)
    assert trunk.fates == []
    finish([first], RETRY)
    assert trunk.fates == [RETRY] * 3


def test_replaced_rows_are_absorbed_and_the_new_ones_a_source() -> None:
    """Rule 5: rows that a Window replaces are absorbed, what comes out is named after it."""
    trunk = Trunk()
    cell = windows(trunk, lambda: Gather(emit=summed), regroups=False)
    cell.push(trunk.fates.parcel(3, replayable=True), at(0))
    trunk.balance(cell, 3)
    (out,) = cell.drain(at(0))
    assert (out.source, out.rows, out.at, out.replayable) == ("w", 1, 4, True)
    assert trunk.ledger.trunk["s"].absorbed == 3
    assert trunk.ledger.trunk["w"].taken == 1
    assert trunk.fates == []
    finish([out])
    assert trunk.fates == [DONE]


def test_a_window_that_gives_nothing_is_done_with_its_rows() -> None:
    """Rule 8: absorbed rows of which nothing came out are settled DONE; empty batches are none."""
    trunk = Trunk()
    cell = windows(trunk, lambda: Gather(emit=lambda got: [got[0].slice(0, 0)]), regroups=False)
    cell.push(trunk.fates.parcel(3), at(0))
    assert cell.drain(at(0)) == []
    assert trunk.fates == [DONE]
    trunk.balance(cell, 3)


def test_a_tap_lets_rows_pass_and_absorbs_none() -> None:
    """Rule 5: a Tap's rows pass unchanged; what it emits is a source, behind the samplers."""
    trunk = Trunk()
    cell = windows(trunk, lambda: Summary(emit=summed), regroups=False)
    assert finish(cell.push(trunk.fates.parcel(3), at(0))) == [0, 1, 2]
    assert list(cell.held()) == []
    (out,) = cell.tick(at(1))
    assert (out.source, out.at, out.replayable) == ("sums", 7, False)
    assert trunk.ledger.trunk["sums"].taken == 1
    assert trunk.ledger.trunk["s"].absorbed == 0
    finish([out])


def test_a_window_that_fails_on_a_push_gives_up_what_it_held() -> None:
    """Rule 21: the batch is dead-lettered; what the Window held before is dropped, counted."""
    trunk = Trunk()
    cell = windows(trunk, Gather)
    cell.push(trunk.fates.parcel(3), at(0))
    assert cell.push(trunk.fates.parcel(batch(2, 666)), at(0)) == []
    assert trunk.ledger.trunk["s"].dropped == {"w/stage_error": 3}
    assert trunk.fates == [DONE]
    trunk.balance(cell, 5)
    assert bury(trunk.morgue) == [2]
    assert list(cell.held()) == []


@pytest.mark.parametrize(
    "emit", [lambda got: 1 / 0, lambda got: got[1:], lambda got: [*got, *got], lambda got: [None]]
)
def test_a_window_that_fails_on_a_flush_gives_up_what_it_held(emit: Any) -> None:
    """Rule 21: an exception, rows kept back, doubled or no batches: all is dropped, counted."""
    trunk = Trunk()
    cell = windows(trunk, lambda: Gather(emit=emit))
    cell.push(trunk.fates.parcel(3), at(0))
    cell.push(trunk.fates.parcel(3), at(0))
    assert cell.drain(at(0)) == []
    assert trunk.ledger.trunk["s"].dropped == {"w/stage_error": 6}
    assert trunk.fates == [DONE, DONE]
    trunk.balance(cell, 6)


def test_a_window_that_cannot_start_dead_letters_its_batch() -> None:
    """Rule 21: also the first batch of a (source, topic) is safe where starting fails."""

    def start() -> Gather:
        raise ValueError("start")

    trunk = Trunk()
    cell = windows(trunk, start)
    assert cell.push(trunk.fates.parcel(3), at(0)) == []
    assert bury(trunk.morgue) == [3]


def test_a_push_that_says_nothing_is_not_full() -> None:
    """A Window whose push returns None holds its rows, and they are held by the account too."""

    class Silent(Gather):
        def push(self, batch: Batch, now_ns: int) -> bool:
            super().push(batch, now_ns)
            return None  # type: ignore[return-value]

    trunk = Trunk()
    cell = windows(trunk, Silent)
    assert cell.push(trunk.fates.parcel(3), at(0)) == []
    trunk.balance(cell, 3)
    assert finish(cell.drain(at(0))) == [0, 1, 2]


def test_a_window_that_keeps_rows_back_loses_none_uncounted() -> None:
    """Rule 2: a replacing Window that still holds rows after a flush has failed on them."""

    class Keeps(Gather):
        def flush(self, now_ns: int) -> Iterable[Batch]:
            return [self.got.pop()]

    trunk = Trunk()
    cell = windows(trunk, Keeps, regroups=False)
    cell.push(trunk.fates.parcel(3), at(0))
    cell.push(trunk.fates.parcel(3), at(0))
    finish(cell.drain(at(0)))
    trunk.balance(cell, 6)


def test_what_windows_hold_is_given_up_with_its_tickets() -> None:
    """Rule 20: a sweep finds the rows in Windows, and who answers for them."""
    trunk = Trunk()
    cell = windows(trunk, Gather)
    cell.push(trunk.fates.parcel(3), at(0))
    cell.push(trunk.fates.parcel(2), at(0))
    (left,) = cell.sweep()
    assert (left.source, left.rows, list(cell.held())) == ("s", 5, [])
    left.ticket.settle(RETRY)
    assert trunk.fates == [RETRY, RETRY]


# lookups


class Known:
    """A Lookup that knows some values of ``n``; the others have to wait."""

    def __init__(self, *values: int) -> None:
        self.values = list(values)
        self.finals: list[int] = []

    def look(self, batch: Batch, *, final: bool) -> Batch | Later:
        """Later for what is not known."""
        if final:
            self.finals += numbers([batch])
            return batch
        mask = ~np.isin(batch["n"], self.values)
        return Later(batch, mask) if mask.any() else batch


def lookups(trunk: Trunk, lookup: Any, rows: int = 100, age_s: float = 1.0) -> LookupCell:
    """A cell with that Lookup."""
    return LookupCell("l", lookup, Parking(rows=rows, age_s=age_s), trunk.morgue)


def test_unresolved_rows_are_parked_and_offered_again() -> None:
    """Rows of ``Later.mask`` wait, the others go on; they are asked for every 50 ms."""
    trunk, known = Trunk(), Known(0, 1)
    cell = lookups(trunk, known)
    assert finish(cell.push(trunk.fates.parcel(4), at(0))) == [0, 1]
    assert list(cell.held()) == [("s", 2)]
    assert cell.due() == 0.05
    assert cell.tick(at(0.04)) == []
    known.values.append(2)
    assert finish(cell.tick(at(0.05))) == [2]
    assert trunk.fates == []
    assert cell.tick(at(0.95)) == []
    assert finish(cell.tick(at(1.0))) == [3]
    assert (known.finals, cell.expired, trunk.fates) == ([3], 1, [DONE])
    assert (cell.rows_in, cell.rows_out) == (4, 4)
    assert cell.due() is None


def test_parking_is_bounded_in_rows() -> None:
    """The oldest rows are passed as they are where there are too many."""
    trunk, known = Trunk(), Known()
    cell = lookups(trunk, known, rows=5)
    assert cell.push(trunk.fates.parcel(batch(3)), at(0)) == []
    assert finish(cell.push(trunk.fates.parcel(batch(4, 3)), at(0))) == [0, 1, 2]
    assert finish(cell.push(trunk.fates.parcel(batch(9, 7)), at(0))) == list(range(3, 16))
    assert list(cell.held()) == []
    assert trunk.fates == [DONE] * 3


def test_small_batches_are_offered_again_together() -> None:
    """A thousand parked batches of a row each are soon asked for by the hundred, and in order."""
    trunk, calls = Trunk(), []

    class Counts(Known):
        def look(self, batch: Batch, *, final: bool) -> Batch | Later:
            calls.append(batch.rows)
            return super().look(batch, final=final)

    known = Counts()
    cell = lookups(trunk, known, rows=5000)
    for n in range(1000):
        source, replayable = ("s", False) if n < 900 else ("t", n % 2 == 0)
        cell.push(trunk.fates.parcel(batch(1, n), source, replayable=replayable), at(n / 10_000))
    calls.clear()
    assert cell.tick(at(0.2)) == []
    assert sum(calls) == 1000
    assert len(calls) <= 102
    assert max(cell.held())[0] == "t"
    known.values += [7, 500]
    assert finish(cell.tick(at(0.3))) == [7, 500]
    assert finish(cell.drain(at(0.4))) == [n for n in range(1000) if n not in (7, 500)]
    assert trunk.fates == [DONE] * 1000


@pytest.mark.parametrize("waiting", [True, False])
def test_a_mask_of_all_or_none(waiting: bool) -> None:
    """Later with all rows, or with none, parks all or none."""

    class Says(Known):
        def look(self, batch: Batch, *, final: bool) -> Later:
            return Later(batch, np.full(batch.rows, waiting and not final))

    trunk = Trunk()
    cell = lookups(trunk, Says())
    out = finish(cell.push(trunk.fates.parcel(3), at(0)))
    assert out == ([] if waiting else [0, 1, 2])
    assert list(cell.held()) == ([("s", 3)] if waiting else [])
    finish(cell.drain(at(0)))
    assert trunk.fates == [DONE]


def test_what_is_parked_passes_at_the_end() -> None:
    """At the drain all that waits is passed as it is, in order."""
    trunk, known = Trunk(), Known()
    cell = lookups(trunk, known)
    cell.push(trunk.fates.parcel(batch(2)), at(0))
    cell.push(trunk.fates.parcel(batch(2, 2)), at(0))
    assert finish(cell.drain(at(0))) == [0, 1, 2, 3]
    assert (cell.rows_in, cell.rows_out) == (4, 4)


@pytest.mark.parametrize(
    "answer",
    [
        lambda b: 1 / 0,
        lambda b: None,
        lambda b: b.slice(0, 1),
        lambda b: Later(b, np.ones(b.rows + 1, bool)),
        lambda b: Later(b, np.ones(1, bool)),
        lambda b: Later(b, np.arange(b.rows)),
        lambda b: Later(b, [True] * b.rows),
        lambda b: Later(b.slice(0, 2), np.ones(2, bool)),
        lambda b: Later(None, np.ones(b.rows, bool)),
        lambda b: counting("another.topic", b.rows),
    ],
)
def test_a_lookup_that_fails_dead_letters_its_batch(answer: Any) -> None:
    """Rule 21: an exception or a broken contract loses no row, at first or when asked again."""

    class Fails(Known):
        def look(self, batch: Batch, *, final: bool) -> Any:
            return answer(batch)

    trunk = Trunk()
    cell = lookups(trunk, Fails())
    assert cell.push(trunk.fates.parcel(3), at(0)) == []
    assert bury(trunk.morgue) == [3]
    later = Known()
    cell = lookups(trunk, later)
    cell.push(trunk.fates.parcel(3), at(0))
    later.look = Fails().look  # type: ignore[method-assign]
    assert cell.tick(at(0.1)) == []
    assert list(cell.held()) == []
    assert bury(trunk.morgue) == [3]
    assert trunk.fates == [DONE, DONE]
