"""Replay: every whole row of every file, in order, at its pace, until all have settled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from tapio.codec import arrow
from tapio.model.batch import Batch
from tapio.model.errors import ConfigError, DecodeError, EndOfStream
from tapio.model.schema import TIME
from tapio.model.stage import Delivery, Read
from tapio.model.ticket import Outcome
from tapio.sinks.file import File
from tapio.sources.replay import Pace, Replay
from tests.batches import counting
from tests.contexts import context


def stored(path: Path, *batches: Batch) -> Path:
    """A stream file of ``batches``."""
    path.write_bytes(arrow.encode(batches))
    return path


async def drained(read: Read) -> list[int]:
    """The ``n`` of every row up to the end, each delivery settled at once."""
    rows: list[int] = []
    while True:
        try:
            batch, ticket = await read()
        except EndOfStream:
            return rows
        ticket.settle(Outcome.DONE)
        rows += batch["n"].tolist()


async def replayed(path: str | Path | tuple[str, ...], **options: object) -> list[int]:
    """All that a replay of ``path`` delivers."""
    spec = Replay(str(path) if isinstance(path, Path) else path, **options)  # type: ignore[arg-type]
    async with spec.open(context()) as read:
        return await drained(read)


async def test_what_the_file_sink_wrote_comes_back(tmp_path: Path) -> None:
    """All rows of a topic return, over several files and changing texts, in their order."""
    async with File(str(tmp_path), rotate_bytes=5000).open(context()) as write:
        for start in range(0, 1000, 100):
            await write(counting("a.b", 100, start, who=[f"w{start}"] * 100))
    assert (await replayed(f"{tmp_path}/*-000002.arrows"))[0] > 0
    assert await replayed(tmp_path) == list(range(1000))


async def test_topics_are_merged_by_time(tmp_path: Path) -> None:
    """Batches of two topics take turns as they were recorded."""
    stored(tmp_path / "a-1.arrows", counting("a", 2, 0), counting("a", 2, 20))
    stored(tmp_path / "a-2.arrows", counting("a", 2, 40))
    stored(tmp_path / "b-1.arrows", counting("b", 2, 10), counting("b", 2, 30))
    assert await replayed(tmp_path) == [0, 1, 10, 11, 20, 21, 30, 31, 40, 41]


async def test_paths(tmp_path: Path) -> None:
    """Files, folders, patterns and lists are taken, each file once, ``.part`` if it is named."""
    one = stored(tmp_path / "1.arrows", counting("a", 1, 1))
    (tmp_path / "sub").mkdir()
    stored(tmp_path / "sub" / "2.arrows", counting("a", 1, 2))
    part = stored(tmp_path / "3.arrows.part", counting("a", 1, 3))
    odd = stored(tmp_path / "[4].arrows", counting("a", 1, 4))
    assert await replayed(one) == [1]
    assert await replayed(tmp_path) == [1, 4]
    assert await replayed(tmp_path / "**" / "*.arrows") == [1, 4, 2]
    assert await replayed((str(part), str(one), str(tmp_path))) == [3, 1, 4]
    assert await replayed(odd) == [4]


async def test_sequence_numbers_are_new(tmp_path: Path) -> None:
    """Replayed rows share the process's sequence of their topic with all others."""
    stored(tmp_path / "a.arrows", counting("a", 3, 7), counting("a", 2, 7))
    cx = context()
    assert cx.sequences.take("a", 10) == 0
    async with Replay(str(tmp_path)).open(cx) as read:
        numbers = []
        for _ in range(2):
            batch, ticket = await read()
            ticket.settle(Outcome.DONE)
            numbers += batch["seq"].tolist()
    assert numbers == [10, 11, 12, 13, 14]


async def deliveries(read: Read, count: int) -> list[Delivery]:
    """The next ``count``, unsettled."""
    return [await read() for _ in range(count)]


def settle(given: Sequence[Delivery], *outcomes: Outcome) -> None:
    """Settle each delivery."""
    for delivery, outcome in zip(given, outcomes, strict=True):
        delivery.ticket.settle(outcome)


async def test_rows_that_come_back_are_delivered_again(tmp_path: Path) -> None:
    """RETRY brings exactly those rows again, after the rest, as often as it takes."""
    stored(tmp_path / "a.arrows", *(counting("a", 1, n) for n in range(3)))
    stored(tmp_path / "b.arrows", *(counting("b", 1, 10 + n) for n in range(3)))
    async with Replay(str(tmp_path)).open(context()) as read:
        settle(await deliveries(read, 6), *[Outcome.DONE, Outcome.RETRY, Outcome.DONE] * 2)
        again = await deliveries(read, 2)
        assert [int(b["n"][0]) for b, _ in again] == [1, 11]
        settle(again, Outcome.RETRY, Outcome.DONE)
        once_more = await deliveries(read, 1)
        assert int(once_more[0].batch["n"][0]) == 1
        settle(once_more, Outcome.DONE)
        with pytest.raises(EndOfStream):
            await read()


async def test_the_end_waits_for_the_last_ticket(tmp_path: Path) -> None:
    """No end is reported while rows could still come back."""
    stored(tmp_path / "a.arrows", counting("a", 1))
    async with Replay(str(tmp_path)).open(context()) as read:
        (delivery,) = await deliveries(read, 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await read()
        delivery.ticket.settle(Outcome.DONE)
        with pytest.raises(EndOfStream):
            await read()


async def test_a_stop_ends_it_at_once(tmp_path: Path) -> None:
    """After a stop nothing more is read, though rows are out and more are there."""
    stored(tmp_path / "a.arrows", *(counting("a", 1, n) for n in range(50)))
    cx = context()
    async with Replay(str(tmp_path)).open(cx) as read:
        (delivery,) = await deliveries(read, 1)
        cx.stopping.set()  # type: ignore[attr-defined]
        with pytest.raises(EndOfStream):
            await read()
        delivery.ticket.settle(Outcome.RETRY)


async def test_cancelled_reads_lose_nothing(tmp_path: Path) -> None:
    """However a read is interrupted, the next one goes on with the same row."""
    stored(tmp_path / "a.arrows", *(counting("a", 1, n) for n in range(300)))
    rows: list[int] = []
    attempts = 0
    async with Replay(str(tmp_path), speed=1.0).open(context()) as read:
        while len(rows) < 300:
            attempts += 1
            try:
                async with asyncio.timeout(0.0001 * (attempts % 7)):
                    batch, ticket = await read()
            except TimeoutError:
                continue
            ticket.settle(Outcome.DONE)
            rows += batch["n"].tolist()
    assert rows == list(range(300))
    assert attempts > 400


async def test_the_recorded_pace(tmp_path: Path) -> None:
    """At speed 2, half a second of rows takes a quarter."""
    stored(tmp_path / "a.arrows", *(counting("a", 1, n) for n in (0, 200, 500)))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await replayed(tmp_path, speed=2.0) == [0, 200, 500]
    assert 0.25 <= loop.time() - began < 5


def test_no_gap_lasts_for_ever() -> None:
    """Absurd times, in either direction, cost at most ``max_gap_s`` each."""
    pace = Pace(1.0, 60.0)
    assert pace.wait_s(0, 100.0) == 0.0
    assert pace.wait_s(2**63 - 1, 100.0) == 60.0
    assert pace.wait_s(2**63 - 1, 130.0) == 30.0
    assert pace.wait_s(-(2**63), 160.0) < 0
    assert pace.wait_s(2**63 - 1, 160.0) == 0.0


async def test_a_damaged_file(tmp_path: Path) -> None:
    """All that is whole is delivered, then one sentence names the file and the offset."""
    whole = stored(tmp_path / "a-1.arrows", counting("a", 2), counting("a", 2, 2)).read_bytes()
    third = len(whole) - 8
    bad = tmp_path / "a-2.arrows"
    bad.write_bytes(whole[:third] + b"garbage!" + whole[third:])
    stored(tmp_path / "a-3.arrows", counting("a", 1, 4))
    (tmp_path / "b.arrows").write_bytes(b"ARROW1 and so on")
    rows: list[int] = []
    async with Replay(str(tmp_path)).open(context()) as read:
        for _ in range(5):
            batch, ticket = await read()
            ticket.settle(Outcome.RETRY if not rows else Outcome.DONE)
            rows += batch["n"].tolist()
        assert rows == [0, 1, 2, 3, 0, 1, 2, 3, 4]
        (again,) = await deliveries(read, 1)
        settle([again], Outcome.DONE)
        with pytest.raises(DecodeError) as caught:
            await read()
    assert caught.value.offset in (0, third)
    assert str(caught.value).startswith(f"{tmp_path}/")
    assert "what stands before it was delivered; 1 more files are damaged" in str(caught.value)


async def test_a_torn_file_gives_what_is_whole(tmp_path: Path) -> None:
    """A file that was cut gives its whole batches before the error."""
    path = stored(tmp_path / "a.arrows", counting("a", 2), counting("a", 2, 2))
    path.write_bytes(path.read_bytes()[:-20])
    async with Replay(str(path)).open(context()) as read:
        batch, ticket = await read()
        ticket.settle(Outcome.DONE)
        assert batch["n"].tolist() == [0, 1]
        with pytest.raises(DecodeError, match=r"a.arrows: the last message is cut short"):
            await read()


@pytest.mark.parametrize("missing", ["none.arrows", "none/*.arrows", "empty"])
async def test_what_is_missing_is_said_at_open(tmp_path: Path, missing: str) -> None:
    """A path that means no file is an error before anything is read."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="there is no Arrow stream file"):
        async with Replay(str(tmp_path / missing)).open(context()):
            pass


async def test_an_unreadable_file_is_said_at_open(tmp_path: Path) -> None:
    """A file that the system refuses to read is named."""
    (tmp_path / "a.arrows").symlink_to(tmp_path / "a.arrows")
    with pytest.raises(ConfigError, match=r"cannot read .*/a.arrows: Too many levels"):
        async with Replay(str(tmp_path)).open(context()):
            pass


async def test_files_of_others_need_a_topic(tmp_path: Path) -> None:
    """Rows whose file names no topic are called as the configuration says."""
    table = pa.table({"n": [1, 2], "time_ns": [5, 6]})
    with (
        pa.OSFile(str(tmp_path / "a.arrows"), "wb") as out,
        pa.ipc.new_stream(out, table.schema) as writer,
    ):
        writer.write_table(table)
    with pytest.raises(ConfigError, match=r"topic: .* names no topic: say which it is"):
        await replayed(tmp_path)
    async with Replay(str(tmp_path), topic="some.rows").open(context()) as read:
        batch, ticket = await read()
        ticket.settle(Outcome.DONE)
    assert (batch.topic, batch["n"].tolist(), batch[TIME.name].tolist()) == (
        "some.rows",
        [1, 2],
        [5, 6],
    )


def open_files() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_files_are_closed(tmp_path: Path) -> None:
    """Leaving in the middle closes every file."""
    for topic in "abc":
        stored(tmp_path / f"{topic}.arrows", *(counting(topic, 1, n) for n in range(50)))
    before = open_files()
    async with Replay(str(tmp_path)).open(context()) as read:
        settle(await deliveries(read, 1), Outcome.DONE)
        assert open_files() >= before + 3
    assert open_files() == before
