"""Made-up rows: the same for one seed, at the rate asked for, of the schema asked for."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.model.batch import Batch
from tapio.model.errors import EndOfStream
from tapio.model.schema import ERROR, INFO, NUMBERS, TEXT, WARN
from tapio.model.stage import Read
from tapio.model.ticket import Outcome
from tapio.sources.synthetic import Mill, Synthetic
from tapio.sources.values import Values, _words, maker
from tests.batches import rows_of
from tests.contexts import HandClock, context

KINDS = (*NUMBERS, *TEXT)
ALL = tuple(Values(kind, kind, cardinality=7 * (n % 2)) for n, kind in enumerate(KINDS))  # type: ignore[arg-type]


async def taken(read: Read, rows: int = 0) -> list[Batch]:
    """Batches up to the end, or until there are ``rows``."""
    batches: list[Batch] = []
    while not rows or sum(b.rows for b in batches) < rows:
        try:
            batch, ticket = await read()
        except EndOfStream:
            break
        ticket.settle(Outcome.DONE)
        batches.append(batch)
    return batches


async def made(spec: Synthetic) -> list[dict[str, Any]]:
    """All rows, but for the times."""
    async with spec.open(context(clock=HandClock())) as read:
        batches = await taken(read)
    return [{k: v for k, v in row.items() if k != "time_ns"} for b in batches for row in rows_of(b)]


async def test_one_seed_gives_one_stream() -> None:
    """The rows are the same however they are cut into batches; another seed gives others."""
    spec = Synthetic(count=1000, columns=ALL, entities=5, seed=3)
    rows = await made(spec)
    assert len(rows) == 1000
    for batch in (1, 7, 333):
        assert await made(msgspec.structs.replace(spec, rows=batch)) == rows
    other = await made(msgspec.structs.replace(spec, seed=4))
    assert all(
        [r[n] for r in other] != [r[n] for r in rows] for n in (*KINDS, "severity", "entity")
    )


async def test_every_type() -> None:
    """Columns of all types have their declared type, bounds and number of different values."""
    async with Synthetic(count=1000, columns=ALL).open(context()) as read:
        (batch,) = await taken(read)
    assert [batch.schema[kind].type for kind in KINDS] == list(KINDS)
    for values in ALL:
        column = batch[values.name]
        if isinstance(column, np.ndarray):
            assert column.dtype == values.type
            assert 0 <= column.min() <= column.max() <= 100
        distinct = set(column.tolist() if isinstance(column, np.ndarray) else column.to_pylist())
        assert len(distinct) <= (values.cardinality or (100 if values.type in TEXT else 1000))
        assert len(distinct) > 1


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64))
def test_integers_reach_both_bounds(low: int, span: int) -> None:
    """Whole numbers lie within min and max, which are both possible, up to 64 bits."""
    high = min(low + span % 4, 2**63 - 1)
    column = maker(Values("x", "int64", low, high), (1,))(200)
    assert (int(column.min()), int(column.max())) == (low, high)


def test_unsigned_extremes() -> None:
    """The upper half of uint64 can be asked for."""
    column = maker(Values("x", "uint64", 2**63, 2**64 - 1), (1,))(100)
    assert column.min() >= 2**63
    assert column.max() > 2**63 + 2**62


@given(st.integers(1, 2000), st.integers(0, 30), st.integers(0, 30))
def test_words(count: int, one: int, other: int) -> None:
    """There are as many different words as asked for, of lengths as asked for if that can be."""
    low, high = sorted((one, other))
    values = Values("x", "binary", cardinality=count, min_length=low, max_length=high)
    pool = _words(values, np.random.Generator(np.random.PCG64(1)))
    least = math.ceil(math.log(count, 26))
    assert len(set(pool)) == count
    assert all(max(low, least) <= len(word) <= max(high, least) for word in pool)


async def test_severities_and_entities() -> None:
    """Severities come by their shares; rows are spread over containers, each in its pod."""
    spec = Synthetic(count=40_000, severities={INFO: 3, WARN: 1, ERROR: 0}, entities=4)
    async with spec.open(context()) as read:
        batches = await taken(read)
    severities = np.concatenate([b["severity"] for b in batches])
    assert 0.73 < (severities == INFO).mean() < 0.77
    assert set(severities.tolist()) == {INFO, WARN}
    table = batches[0].entities
    assert table is not None
    assert all(b.entities is table for b in batches)
    assert len({table[int(c)]["k8s.pod.name"] for b in batches for c in b["entity"]}) == 4


async def test_sequence_numbers_follow_each_other() -> None:
    """``seq`` is taken from the process's sequence of the topic."""
    cx = context()
    cx.sequences.take("synthetic.event", 5)
    async with Synthetic(count=30, rows=10).open(cx) as read:
        numbers = [n for b in await taken(read) for n in b["seq"].tolist()]
    assert numbers == list(range(5, 35))


async def test_the_rate() -> None:
    """Half a second at 20,000 rows/s brings 10,000 rows, whose times are evenly spaced."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with Synthetic(rate=20_000, count=10_000).open(context()) as read:
        batches = await taken(read)
    assert 0.49 <= loop.time() - began < 5
    assert len(batches) < 100
    times = np.concatenate([b["time_ns"] for b in batches])
    gaps = np.diff(times)
    assert abs(np.median(gaps) - 50_000) < 5_000
    assert abs(times[-1] - times[0] - 499_950_000) < 1_000_000_000


async def test_a_slow_rate_brings_single_rows() -> None:
    """At 10 rows/s a row comes each tenth of a second, not ten at once."""
    began = time.monotonic()
    async with Synthetic(rate=10, count=3).open(context()) as read:
        assert [b.rows for b in await taken(read)] == [1, 1, 1]
    assert 0.29 <= time.monotonic() - began < 5


def mill(clock: HandClock, **options: Any) -> Mill:
    """A mill by a clock that is moved by hand."""
    return Mill(Synthetic(**options), context(clock=clock))


async def one(busy: Mill) -> Batch:
    """Its next batch."""
    batch, ticket = await busy.read()
    ticket.settle(Outcome.DONE)
    return batch


async def test_who_was_not_read_catches_up_by_a_second_at_most() -> None:
    """Half a second's rows are made up for; a minute's are not."""
    clock = HandClock()
    busy = mill(clock, rate=1000.0, rows=65_536, columns=())
    clock.now = 0.5
    assert (await one(busy)).rows == 500
    clock.now = 60.0
    after = await one(busy)
    assert after.rows == 20
    assert clock.time_ns() - after["time_ns"].min() < 30_000_000
    clock.now = 60.1
    assert (await one(busy)).rows == 100


async def test_times_never_lie_ahead() -> None:
    """A row's time is when it was due, never later than now."""
    clock = HandClock()
    busy = mill(clock, rate=100.0, columns=())
    clock.now = 0.1
    batch = await one(busy)
    assert (clock.time_ns() - batch["time_ns"]).tolist() == pytest.approx(
        [90e6, 80e6, 70e6, 60e6, 50e6, 40e6, 30e6, 20e6, 10e6, 0], abs=1000
    )


async def test_a_stop_ends_it() -> None:
    """A read that waits for its rate ends soon after the stop, and stays ended."""
    cx = context()
    async with Synthetic(rate=0.001).open(cx) as read:
        asyncio.get_running_loop().call_later(0.05, cx.stopping.set)  # type: ignore[attr-defined]
        for _ in range(2):
            with pytest.raises(EndOfStream):
                async with asyncio.timeout(2):
                    await read()


async def test_reading_lets_others_run() -> None:
    """As fast as it can, it still gives way to other tasks at each batch."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks, Synthetic(count=100, rows=1).open(context()) as read:
        beside = tasks.create_task(other())
        await taken(read)
        beside.cancel()
    assert turns >= 100


async def test_cancelled_reads_lose_nothing() -> None:
    """Interrupted again and again, the rows still come once each, in order."""
    rows: list[int] = []
    async with Synthetic(rate=5000, count=500, rows=10).open(context()) as read:
        for attempt in range(100_000):
            try:
                async with asyncio.timeout(0.0002 * (attempt % 8)):
                    batch, ticket = await read()
            except TimeoutError:
                continue
            except EndOfStream:
                break
            ticket.settle(Outcome.DONE)
            rows += batch["seq"].tolist()
    assert rows == list(range(500))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"topic": "Not A Topic"}, "topic 'Not A Topic' is not lower-case"),
        ({"columns": [{"name": "x", "type": "int99"}]}, "Invalid enum value 'int99'"),
        (
            {"columns": [{"name": "x", "type": "int8", "max": 128}]},
            "'x': min or max is beyond int8",
        ),
        ({"columns": [{"name": "x", "type": "int8", "min": 9, "max": 8}]}, "'x': min is above max"),
        ({"columns": [{"name": "x", "type": "int8", "min": 0.4, "max": 0.6}]}, "'x': min is above"),
        ({"columns": [{"name": "x", "type": "float64", "max": math.nan}]}, "one is no number"),
        ({"columns": [{"name": "x", "type": "text", "min_length": 20}]}, "min_length is above"),
        ({"columns": [{"name": "x", "type": "text"}] * 2}, "names a column twice"),
        ({"columns": [{"name": "seq", "type": "text"}]}, "names a column twice"),
        ({"severities": {}}, "severities need shares"),
        ({"severities": {"25": 1}}, "<= 24"),
        ({"rate": -1}, ">= 0"),
    ],
)
def test_what_cannot_be_made_is_refused(config: dict[str, Any], words: str) -> None:
    """Each mistake in the configuration is named before anything opens."""
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert({"type": "synthetic", **config}, Synthetic, strict=False)
