"""``by``: what goes in comes out, in larger batches, in time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapio.batch.by import By
from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.entities import EntityTable
from tapio.model.schema import ENTITY, ERROR
from tapio.model.stage import Window
from tests.batches import batches, counting, rows_of, schemas
from tests.sample.context import context


def test_is_full_by_rows() -> None:
    """``push`` says True with the row that makes ``max_rows``."""
    window = By(max_rows=10).start(context())
    assert not window.push(counting("a.b", 9), 0)
    assert window.push(counting("a.b", 1, 9), 0)
    (batch,) = window.flush(0)
    assert batch["n"].tolist() == list(range(10))
    assert window.held() == 0
    assert not window.push(counting("a.b", 9), 0)


def test_is_full_by_bytes() -> None:
    """``push`` says True at ``max_bytes``, and no batch that comes out is much larger."""
    size = counting("a.b", 100).size
    window = By(max_bytes=3 * size).start(context())
    assert [window.push(counting("a.b", 100), 0) for _ in range(3)] == [False, False, True]
    window.push(counting("a.b", 300), 0)
    assert all(batch.size <= 3 * size for batch in window.flush(0))


def test_an_error_does_not_wait() -> None:
    """One row of severity ≥ error flushes (rule 10); one below it does not."""
    window = By().start(context())
    assert not window.push(counting("a.b", 3, severity=ERROR - 1), 0)
    assert window.push(counting("a.b", 1, severity=ERROR), 0)


def test_holds_as_long_as_it_may() -> None:
    """The engine flushes after ``max_age_s``; the Window says so and is one."""
    window = By(max_age_s=0.25).start(context())
    assert isinstance(window, Window)
    assert window.hold_s == 0.25
    assert By.regroups


def test_more_than_a_batch_may_hold() -> None:
    """A large batch on top of a waiting one is cut, not refused."""
    window = By(max_rows=MAX_ROWS).start(context())
    window.push(counting("a.b", MAX_ROWS - 1), 0)
    window.push(counting("a.b", MAX_ROWS), 0)
    assert window.held() == 2 * MAX_ROWS - 1
    assert [b.rows for b in window.flush(0)] == [MAX_ROWS, MAX_ROWS - 1]


def test_entity_tables_are_not_mixed() -> None:
    """Batches of two epochs come out apart, each with its table."""
    tables = [EntityTable(), EntityTable()]
    for table in tables:
        table.add("k", {"epoch": str(table.epoch)})
    window = By().start(context())
    for turn in range(4):
        codes = np.zeros(2, np.int32)
        window.push(counting("a.b", 2, 2 * turn).with_columns({ENTITY: codes}, tables[turn % 2]), 0)
    out = list(window.flush(0))
    assert [b.entities for b in out] == tables
    assert [b["n"].tolist() for b in out] == [[0, 1, 4, 5], [2, 3, 6, 7]]


@st.composite
def streams(draw: st.DrawFn) -> list[Batch]:
    """Batches of one topic in one or two schemas."""
    first = draw(schemas())
    other = first.extended([draw(schemas()).fields[0]]) if draw(st.booleans()) else first
    chosen = draw(st.lists(st.sampled_from([first, other]), max_size=6))
    return [draw(batches(schema)) for schema in chosen]


@settings(deadline=None)
@given(streams(), st.integers(1, 30), st.integers(1, 2000))
def test_what_goes_in_comes_out(stream, max_rows, max_bytes) -> None:
    """Each row comes out once, unchanged, in order within its schema; ``held`` counts them."""
    window = By(max_rows=max_rows, max_bytes=max_bytes).start(context())
    for batch in stream:
        window.push(batch, 0)
    assert window.held() == sum(b.rows for b in stream)
    assert list(window.batches()) == stream
    out = list(window.flush(0))
    assert window.held() == 0
    assert list(window.flush(0)) == []
    assert all(b.rows <= max_rows for b in out)
    for kind in {(b.schema, b.entities) for b in stream}:
        alike = [row for b in stream if (b.schema, b.entities) == kind for row in rows_of(b)]
        assert [row for b in out if (b.schema, b.entities) == kind for row in rows_of(b)] == alike


@pytest.mark.parametrize("rows", [1, 4096, 8192])
def test_a_batch_alone_is_not_copied(rows) -> None:
    """One batch that fits comes out as it is."""
    window = By().start(context())
    batch = counting("a.b", rows)
    window.push(batch, 0)
    assert list(window.flush(0)) == [batch]
