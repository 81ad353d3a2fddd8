"""procfs: what its reads bring, together and in time, and hosts where some of it is missing."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from tapio.model.batch import Batch
from tapio.model.errors import ConfigError, EndOfStream
from tapio.model.schema import Schema
from tapio.model.stage import Context, Read
from tapio.model.ticket import Outcome
from tapio.observers import process
from tapio.sources.processes import END, START
from tapio.sources.procfs import Procfs
from tests.contexts import context
from tests.sources.hosts import Host, rows


async def taken(read: Read, count: int = 0) -> list[Batch]:
    """So many batches, or all up to the end."""
    batches: list[Batch] = []
    while not count or len(batches) < count:
        try:
            batch, ticket = await read()
        except EndOfStream:
            break
        ticket.settle(Outcome.DONE)
        batches.append(batch)
    return batches


def stop(cx: Context) -> None:
    """Ask for a stop."""
    cx.stopping.set()  # type: ignore[attr-defined]


async def test_a_process_begins_and_ends() -> None:
    """The source tells the begin of a program, and then its end."""
    async with Procfs(0.1, tcp=False, pressure=False).open(context()) as read:
        program = await asyncio.create_subprocess_exec("sleep", "0.4")
        batches: list[Batch] = []
        while program.pid not in [r["pid"] for r in rows(batches, "process.end")]:
            batches += await taken(read, 1)
        await program.wait()
    (start,) = [r for r in rows(batches, "process.start") if r["pid"] == program.pid]
    (end,) = [r for r in rows(batches, "process.end") if r["pid"] == program.pid]
    assert end["start_ns"] == start["start_ns"]
    assert 380_000_000 <= end["time_ns"] - start["time_ns"] < 30_000_000_000


async def test_what_was_there_before_is_no_news() -> None:
    """Processes that run when the source opens are not begun; their end is told."""
    program = await asyncio.create_subprocess_exec("sleep", "60")
    await asyncio.sleep(0.1)
    cx = context()
    async with Procfs(0.1, tcp=False, pressure=False).open(cx) as read:
        program.kill()
        await program.wait()
        batches: list[Batch] = []
        while program.pid not in [r["pid"] for r in rows(batches, "process.end")]:
            batches += await taken(read, 1)
    begun = {r["pid"] for r in rows(batches, "process.start")}
    assert not {program.pid, os.getpid(), 1} & begun


async def test_a_stop_brings_a_last_look() -> None:
    """What began since the last look is told before the end, and the end comes at once."""
    cx = context()
    async with Procfs(60.0, tcp=False, pressure=False).open(cx) as read:
        program = await asyncio.create_subprocess_exec("sleep", "60")
        await asyncio.sleep(0.05)
        stop(cx)
        async with asyncio.timeout(5):
            batches = await taken(read)
        program.kill()
        await program.wait()
        with pytest.raises(EndOfStream):
            await read()
    assert program.pid in [r["pid"] for r in rows(batches, "process.start")]


async def test_cancelled_reads_lose_nothing() -> None:
    """Interrupted while it waits or looks, no process is missed or told twice."""
    cx = context()
    programs = []
    batches: list[Batch] = []
    async with Procfs(0.02, tcp=False, pressure=False).open(cx) as read:
        for attempt in range(200):
            if attempt % 20 == 0:
                programs.append(await asyncio.create_subprocess_exec("sleep", "60"))
            try:
                async with asyncio.timeout(0.001 * (attempt % 15)):
                    batches += await taken(read, 1)
            except TimeoutError:
                continue
        stop(cx)
        batches += await taken(read)
    for program in programs:
        program.kill()
        await program.wait()
    begun = [r["pid"] for r in rows(batches, "process.start")]
    assert [begun.count(p.pid) for p in programs] == [1] * len(programs)
    numbers = [n for b in batches if b.topic == "process.start" for n in b["seq"].tolist()]
    assert numbers == list(range(len(numbers)))


async def test_all_topics_together() -> None:
    """With everything on each topic is numbered by itself, and of its declared schema."""
    cx = context()
    async with Procfs(0.1).open(cx) as read:
        batches = await taken(read, 6)
        stop(cx)
        batches += await taken(read)
    schemas = {s.topic: s for s in Procfs.schemas}
    assert {"tcp.counters", "pressure.stall"} <= {b.topic for b in batches} <= schemas.keys()
    assert all(b.schema == schemas[b.topic] for b in batches)
    for topic in schemas:
        numbers = [n for b in batches if b.topic == topic for n in b["seq"].tolist()]
        assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize(("ours", "theirs"), [(START, process.EXEC), (END, process.EXIT)])
def test_columns_mean_the_same_as_the_process_sources(ours: Schema, theirs: Schema) -> None:
    """A column that both sources have is of one type, unit and attribute: views fit both."""
    shared = [f.name for f in ours.fields if f.name in theirs]
    assert len(shared) >= 9
    for name in shared:
        one, other = ours[name], theirs[name]
        assert (one.type, one.unit, one.otel) == (other.type, other.unit, other.otel)


async def test_no_process_table_is_said_at_open(tmp_path: Path) -> None:
    """A host root without /proc is an error that says what to do."""
    with pytest.raises(ConfigError, match=r"no process table in .*/proc: .*; mount the host's"):
        async with Procfs().open(context(host_root=tmp_path)):
            pass


async def test_what_the_host_has_not_is_said_once(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Without TCP counters and PSI the processes still come, and the log has one line each."""
    caplog.set_level(logging.WARNING)
    async with Procfs(0.02).open(context(host_root=host.root)) as read:
        for pid in (5, 6, 7):
            host.begin(pid)
            assert [r["pid"] for r in rows(await taken(read, 1), "process.start")] == [pid]
    assert [r.message.partition(":")[0] for r in caplog.records] == [
        "no TCP counters",
        "no pressure",
    ]


async def test_a_damaged_file_stops_nothing(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """Figures that cannot be understood are left out, and said once."""
    (host.root / "proc" / "pressure").mkdir()
    (host.root / "proc" / "pressure" / "cpu").write_bytes(b"\xff nonsense")
    async with Procfs(0.02, tcp=False).open(context(host_root=host.root)) as read:
        for pid in (5, 6):
            host.begin(pid)
            assert len(rows(await taken(read, 1), "process.start")) == 1
    assert [r.message for r in caplog.records] == [
        "no pressure: not a line of a pressure file (at byte 0)"
    ]
