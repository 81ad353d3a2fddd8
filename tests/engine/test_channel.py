"""A channel: bounds, who waits, who is dropped, and that each row is always somewhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.engine.channel import Channel, latest
from tapio.engine.parcel import Parcel
from tapio.model.errors import EndOfStream
from tapio.model.policy import Bounds, OnFull
from tapio.model.schema import ERROR, INFO
from tapio.model.ticket import Outcome
from tests.engine.rows import Fates, batch, numbers, virtually

DONE, RETRY = Outcome.DONE, Outcome.RETRY


class Kept:
    """A channel and what it dropped."""

    def __init__(self, on_full: OnFull, rows: int, bytes: int = 1 << 30) -> None:
        self.fates = Fates()
        self.dropped: list[tuple[list[int], str]] = []
        self.hot: set[int] = set()
        self.channel = Channel(Bounds(rows=rows, bytes=bytes), on_full, self._drop)

    def offer(self, content: Any, **options: Any) -> asyncio.Future[None] | None:
        """Offer rows."""
        self.hot |= set(numbers([content.where(content["severity"] >= ERROR)]))
        return self.channel.offer(self.fates.parcel(content, **options))

    def rows(self) -> list[int]:
        """The rows in it, in order."""
        return numbers(self.channel.batches())

    def lost(self) -> list[int]:
        """The rows dropped, in order."""
        return [n for ns, _ in self.dropped for n in ns]

    def close(self) -> None:
        """Settle what is left."""
        for left in self.channel.sweep():
            left.ticket.settle(RETRY)

    def _drop(self, parcel: Parcel, reason: str) -> None:
        self.dropped.append((numbers([parcel.batch]), reason))
        parcel.ticket.settle(DONE)


async def test_what_is_offered_is_taken_in_order() -> None:
    """First in, first out; the counts of rows and bytes follow."""
    one = Kept("block", 10)
    assert one.offer(batch(3)) is None
    assert one.offer(batch(4, 3)) is None
    assert (one.channel.rows, one.channel.size) == (7, batch(7).size)
    assert one.channel.fill == 0.7
    for expected in [0, 1, 2], [3, 4, 5, 6]:
        parcel = await one.channel.get()
        assert parcel is not None
        assert numbers([parcel.batch]) == expected
        parcel.ticket.settle(DONE)
    assert (one.channel.rows, one.channel.size) == (0, 0)


@pytest.mark.parametrize("bounds", [{"rows": 5}, {"rows": 100, "bytes": batch(5).size}])
async def test_a_full_channel_blocks_and_admits_in_order(bounds: Any) -> None:
    """Rule 14: ``block`` drops nothing; who waits is let in, in order, as room comes."""
    one = Kept("block", **bounds)
    assert one.offer(batch(4)) is None
    rooms = [one.offer(batch(2, 4)), one.offer(batch(3, 6)), one.offer(batch(1, 9))]
    assert all(room is not None and not room.done() for room in rooms)
    assert one.rows() == list(range(10))
    assert sum(n for _, n in one.channel.held()) == 10
    (first := await one.channel.get()).ticket.settle(DONE)  # type: ignore[union-attr]
    assert [room.done() for room in rooms if room is not None] == [True, True, False]
    assert first is not None
    assert one.rows() == list(range(4, 10))
    assert one.dropped == []
    one.close()


async def test_an_empty_channel_takes_what_is_larger_than_its_bounds() -> None:
    """A batch that is larger than the whole channel passes alone."""
    one = Kept("block", 5)
    assert one.offer(batch(50)) is None
    assert one.channel.fill == 10
    one.close()


async def test_the_end_comes_after_what_is_in_it() -> None:
    """A closed channel gives what it holds, also to whom waits for room, then EndOfStream."""
    one = Kept("block", 2)
    one.offer(batch(2))
    one.offer(batch(2, 2))
    one.channel.close()
    for _ in range(2):
        (await one.channel.get()).ticket.settle(DONE)  # type: ignore[union-attr]
    with pytest.raises(EndOfStream):
        await one.channel.get()


async def test_a_taker_is_woken_by_an_offer_and_by_the_end() -> None:
    """Whoever waits gets the next parcel, or EndOfStream."""
    one = Kept("block", 2)
    async with asyncio.TaskGroup() as group:
        taker = group.create_task(one.channel.get())
        await asyncio.sleep(0)
        one.offer(batch(1))
        (await taker).ticket.settle(DONE)  # type: ignore[union-attr]
        last = group.create_task(_end(one.channel))
        await asyncio.sleep(0)
        one.channel.close()
        assert await last


async def _end(channel: Channel) -> bool:
    try:
        await channel.get()
    except EndOfStream:
        return True
    return False


async def test_a_taker_that_is_cancelled_takes_nothing() -> None:
    """Cancelled at any moment, also between the offer and its turn, it leaves the row in."""
    for turns in range(3):
        one = Kept("block", 2)
        async with asyncio.TaskGroup() as group:
            taker = group.create_task(one.channel.get())
            await asyncio.sleep(0)
            one.offer(batch(1))
            for _ in range(turns):
                if not taker.done():
                    await asyncio.sleep(0)
            taken = taker.done()
            taker.cancel()
        assert len(one.rows()) == (0 if taken else 1)
        if taken:
            (await taker).ticket.settle(DONE)  # type: ignore[union-attr]
        one.close()


async def test_a_giver_that_is_cancelled_leaves_its_rows() -> None:
    """Cancelling the wait for room leaves the parcel in the channel's care."""
    one = Kept("block", 1)
    one.offer(batch(1))
    room = one.offer(batch(1, 1))
    assert room is not None
    room.cancel()
    assert one.rows() == [0, 1]
    (await one.channel.get()).ticket.settle(DONE)  # type: ignore[union-attr]
    assert one.rows() == [1]
    one.close()


def test_get_returns_none_at_its_time() -> None:
    """``until`` in the past returns at once, one ahead exactly then."""

    async def main() -> None:
        one, loop = Kept("block", 1), asyncio.get_running_loop()
        assert await one.channel.get(loop.time()) is None
        assert await one.channel.get(loop.time() + 5) is None
        assert loop.time() == pytest.approx(5)

    virtually(main())


async def test_drop_oldest_drops_from_the_front() -> None:
    """Rule 14: ``drop_oldest`` makes room for the new at the cost of the oldest."""
    one = Kept("drop_oldest", 4)
    for n in range(3):
        one.offer(batch(2, 2 * n))
    assert one.rows() == [2, 3, 4, 5]
    assert one.dropped == [([0, 1], "drop_oldest")]
    assert one.fates == [DONE]
    one.close()


async def test_drop_newest_drops_the_new() -> None:
    """Rule 14: ``drop_newest`` keeps what there is."""
    one = Kept("drop_newest", 4)
    for n in range(3):
        one.offer(batch(2, 2 * n))
    assert one.rows() == [0, 1, 2, 3]
    assert one.dropped == [([4, 5], "drop_newest")]
    one.close()


@pytest.mark.parametrize("on_full", ["drop_oldest", "drop_newest"])
async def test_urgent_rows_go_last(on_full: OnFull) -> None:
    """Rule 14: severity ≥ error is kept, wherever it stands, while a calm row can go."""
    one = Kept(on_full, 4)
    one.offer(batch(4, 0, [INFO, ERROR, INFO, ERROR]))
    one.offer(batch(3, 4, [ERROR, INFO, ERROR]))
    assert one.rows() == [1, 3, 4, 6]
    assert sorted(one.lost()) == [0, 2, 5]
    one.offer(batch(1, 7, ERROR))
    assert 7 in one.rows()
    one.close()
    assert len(one.fates) == 3


async def test_a_huge_batch_leaves_the_urgent_rows() -> None:
    """Rule 14: a calm batch larger than the channel drops no urgent row."""
    one = Kept("drop_oldest", 4)
    one.offer(batch(4, 0, [INFO, ERROR, INFO, ERROR]))
    one.offer(batch(1000, 4))
    assert one.rows() == [1, 3]
    one.close()


async def test_shedding_takes_also_from_those_who_wait() -> None:
    """Rule 19: what waits for room is memory too; its giver goes on."""
    one = Kept("block", 2)
    one.offer(batch(2))
    room = one.offer(batch(2, 2))
    assert room is not None
    one.channel.shed(lambda p: 2 in p.batch["n"], "memory")
    assert one.dropped == [([2, 3], "memory")]
    assert room.done()
    one.channel.shed(lambda p: True, "memory")
    assert one.rows() == []
    assert (one.channel.rows, one.channel.size) == (0, 0)


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.lists(st.booleans(), min_size=1, max_size=12)),
        st.tuples(st.just("get"), st.just([])),
        st.tuples(st.just("shed"), st.lists(st.booleans(), min_size=1, max_size=3)),
        st.tuples(st.just("cancel"), st.just([])),
    ),
    max_size=30,
)


@given(
    acts=ACTS,
    on_full=st.sampled_from(["block", "drop_oldest", "drop_newest"]),
    bound=st.integers(1, 20),
    by_bytes=st.booleans(),
)
def test_each_row_is_somewhere(acts: Any, on_full: OnFull, bound: int, by_bytes: bool) -> None:
    """Rules 1, 8 and 14: in it, taken or dropped, once; counts agree; calm rows go first."""
    row = batch(1).size
    one = Kept(on_full, 1000 if by_bytes else bound, bound * row if by_bytes else 1 << 30)

    async def main() -> None:
        first, taken = 0, Counter[int]()
        rooms: list[asyncio.Future[None]] = []
        for act, hot in acts:
            before = len(one.lost())
            if act == "offer":
                severities = [ERROR if h else INFO for h in hot]
                room = one.offer(batch(len(hot), first, severities))
                first += len(hot)
                rooms += [room] if room else []
                _check_severity(one, before)
            elif act == "get" and one.rows():
                parcel = await one.channel.get()
                assert parcel is not None
                taken.update(numbers([parcel.batch]))
                parcel.ticket.settle(DONE)
            elif act == "shed":
                one.channel.shed(lambda p, hot=hot: hot[p.batch["n"][0] % len(hot)], "memory")
            elif act == "cancel" and rooms:
                rooms.pop().cancel()
            assert taken + Counter(one.rows()) + Counter(one.lost()) == Counter(range(first))
            inside = list(one.channel._items)
            assert one.channel.rows == sum(p.rows for p in inside)
            assert one.channel.size == sum(p.batch.size for p in inside)
            assert one.channel.rows <= bound or len(inside) == 1
        if on_full == "block":
            assert all(reason == "memory" for _, reason in one.dropped)
        one.close()
        assert len(one.fates) == sum(act == "offer" for act, _ in acts)

    virtually(main())


def _check_severity(one: Kept, before: int) -> None:
    """Where the last offer had an urgent row dropped, no calm row is left."""
    if any(n in one.hot for n in one.lost()[before:]):
        assert set(one.rows()) <= one.hot


@pytest.mark.parametrize("wait_s", [0.007, 0.05])
async def test_a_timer_that_rings_early_is_not_asked_again(wait_s: float) -> None:
    """What is due at a time is done once the timer rings, also where the clock is behind it."""
    one, loop = Kept("block", 1), asyncio.get_running_loop()
    for _ in range(20):
        await asyncio.sleep(0.0003)
        until = loop.time() + wait_s
        assert await one.channel.get(until) is None
        assert latest(loop.time(), until) >= until
        assert loop.time() > until - 0.001
