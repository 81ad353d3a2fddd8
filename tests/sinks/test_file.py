"""The file sink: whole files at any time, one writer, bounded disk, honest failures."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tapio.codec import arrow
from tapio.model.batch import Batch
from tapio.model.entities import EntityTable
from tapio.model.errors import ConfigError, Retryable
from tapio.model.schema import ENTITY, WEIGHT, Field
from tapio.sinks import file
from tapio.sinks.file import File
from tapio.sinks.folder import Folder, Rules
from tapio.sinks.segment import Segment
from tests.batches import counting
from tests.contexts import HandClock, context

PLENTY = Rules(1 << 30, 3600.0, 1 << 40, sync_close=False, sync_batch=False)
LOGGER = logging.getLogger("tapio.test")


def folder(path: Path, clock: HandClock | None = None, **rules: float) -> Folder:
    """An open folder whose rules never act, but for ``rules``."""
    opened = Folder(path, PLENTY._replace(**rules), clock or HandClock(), LOGGER)
    opened.open()
    return opened


def files(path: Path) -> list[str]:
    """The names in a folder, the lock aside."""
    return sorted(p.name for p in path.iterdir() if p.name != ".lock")


def rows(path: Path, pattern: str = "*.arrows") -> list[int]:
    """The ``n`` of every row of the files, which are whole."""
    found = [b for p in sorted(path.glob(pattern)) for b in arrow.decode(p.read_bytes())]
    return [int(n) for b in found for n in b["n"]]


async def test_a_batch_is_in_the_file_when_write_returns(tmp_path: Path) -> None:
    """While the sink is open each batch stands whole in ``.part``; at the end in ``.arrows``."""
    async with File(str(tmp_path / "new" / "out")).open(context()) as write:
        for start in (0, 5):
            await write(counting("process.exec", 5, start))
            (part,) = (tmp_path / "new" / "out").glob("*.part")
            assert [int(n) for b in arrow.decode(part.read_bytes()) for n in b["n"]] == list(
                range(start + 5)
            )
    (name,) = files(tmp_path / "new" / "out")
    assert (
        pa.ipc.open_stream((tmp_path / "new" / "out" / name).read_bytes()).read_all().num_rows == 10
    )


async def test_one_file_a_topic(tmp_path: Path) -> None:
    """Topics go to files of their own, named by topic, UTC start and number."""
    async with File(str(tmp_path)).open(context(clock=HandClock())) as write:
        for topic in ("process.exec", "process.exit", "process.exec"):
            await write(counting(topic, 2))
    assert files(tmp_path) == [
        "process.exec-20231114T221320Z-000000.arrows",
        "process.exit-20231114T221320Z-000001.arrows",
    ]
    assert rows(tmp_path, "process.exec*") == [0, 1, 0, 1]


async def test_a_path_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``out`` is below the directory that the pipeline was started in."""
    monkeypatch.chdir(tmp_path)
    async with File("out").open(context()) as write:
        monkeypatch.chdir("/")
        await write(counting("a", 1))
    assert rows(tmp_path / "out") == [0]


def test_changing_texts_share_a_file(tmp_path: Path) -> None:
    """Coded text that changes from batch to batch needs no new file, and is kept."""
    out = folder(tmp_path)
    for start in range(3):
        out.write(counting("a", 2, start, who=[f"w{start}", f"v{start}"]))
    out.close()
    (name,) = files(tmp_path)
    back = arrow.decode((tmp_path / name).read_bytes())
    assert [b["who"].to_pylist() for b in back] == [[f"w{i}", f"v{i}"] for i in range(3)]


def about(batch: Batch, **attributes: str) -> Batch:
    """``batch`` with all rows of one entity."""
    table = EntityTable()
    code = table.add("it", attributes)
    return batch.with_columns({ENTITY: np.full(batch.rows, code, np.int32)}, table)


def test_entity_columns_come_and_go(tmp_path: Path) -> None:
    """A new attribute begins a new file; from then on rows without it are null there."""
    out = folder(tmp_path)
    for _ in range(3):
        out.write(counting("a", 1))
        out.write(about(counting("a", 1), pod="p"))
        out.write(about(counting("a", 1), pod="p", node="n"))
    out.close()
    back = [arrow.decode((tmp_path / name).read_bytes()) for name in files(tmp_path)]
    assert [len(batches) for batches in back] == [1, 1, 7]
    said = [dict(b.entities[b["entity"][0]]) if b.entities else {} for b in back[2]]
    assert said == [{"pod": "p", "node": "n"}, {}, {"pod": "p"}] * 2 + [{"pod": "p", "node": "n"}]


def test_a_rotated_file_goes_on_with_all_columns(tmp_path: Path) -> None:
    """The file after a rotation has room for every attribute seen before."""
    clock = HandClock()
    out = folder(tmp_path, clock, rotate_s=60.0)
    out.write(about(counting("a", 1), pod="p"))
    clock.now = 60.0
    out.tick()
    out.write(counting("a", 1))
    out.write(about(counting("a", 1), pod="p"))
    out.close()
    assert len(files(tmp_path)) == 2


def test_number_columns_that_come_and_go_have_files_of_their_own(tmp_path: Path) -> None:
    """A number cannot be null: rows with a weight and rows without take turns in two files."""
    out = folder(tmp_path)
    for _ in range(4):
        out.write(counting("a", 1))
        out.write(counting("a", 1).with_columns({WEIGHT: np.ones(1)}))
    out.close()
    assert [len(arrow.decode((tmp_path / name).read_bytes())) for name in files(tmp_path)] == [4, 4]


def test_a_column_may_change_its_type(tmp_path: Path) -> None:
    """A text that becomes coded text goes on in a new file."""
    out = folder(tmp_path)
    out.write(counting("a", 1).with_columns({Field("t", "string"): pa.array(["x"])}))
    out.write(counting("a", 1, 1, t=["x"]))
    out.close()
    assert rows(tmp_path) == [0, 1]
    assert len(files(tmp_path)) == 2


def test_open_files_are_bounded(tmp_path: Path) -> None:
    """More topics than may be open close the file that was begun first."""
    out = folder(tmp_path)
    for topic in range(200):
        out.write(counting(f"t{topic}", 1))
    assert len(list(tmp_path.glob("*.part"))) == 128
    out.close()
    assert len(rows(tmp_path)) == 200


def test_rotation_by_size(tmp_path: Path) -> None:
    """A file is closed as soon as it has reached the size."""
    out = folder(tmp_path, rotate_bytes=4000)
    for start in range(0, 1000, 100):
        out.write(counting("a", 100, start))
    assert sorted(rows(tmp_path)) == list(range(1000))
    sizes = [p.stat().st_size for p in tmp_path.glob("*.arrows")]
    assert len(sizes) > 3
    assert all(4000 <= size < 8000 for size in sizes)
    out.close()


def test_rotation_by_age(tmp_path: Path) -> None:
    """A file is closed when it is old, though no more rows come."""
    clock = HandClock()
    out = folder(tmp_path, clock, rotate_s=60.0)
    out.write(counting("a", 1))
    clock.now = 59.9
    out.tick()
    assert rows(tmp_path) == []
    clock.now = 60.0
    out.tick()
    assert rows(tmp_path) == [0]
    out.write(counting("a", 1, 1))
    out.close()
    assert rows(tmp_path) == [0, 1]


async def test_the_sink_looks_at_the_age_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle topic's file is closed by the sink's own timer, which ends with the sink."""
    monkeypatch.setattr(file, "TICK_S", 0.01)
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    async with File(str(tmp_path), rotate_s=0.1).open(context()) as write:
        await write(counting("a", 1))
        assert rows(tmp_path) == []
        await asyncio.sleep(0.3)
        assert rows(tmp_path) == [0]
    await asyncio.sleep(0.05)
    assert faults == []


@pytest.mark.parametrize("seconds", [0, 1])
def test_the_oldest_files_are_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: int
) -> None:
    """Closed files above ``keep_bytes`` go, oldest first, each with a line in the log."""
    caplog.set_level(logging.INFO)
    clock = HandClock()
    out = folder(tmp_path, clock, rotate_bytes=1, keep_bytes=9000)
    for start in range(10):
        clock.now += seconds
        out.write(counting("a", 50, 50 * start))
    out.close()
    kept = rows(tmp_path)
    assert sum((tmp_path / name).stat().st_size for name in files(tmp_path)) <= 9000
    assert len(kept) >= 100
    assert kept == list(range(500 - len(kept), 500))
    assert len(caplog.records) == 10 - len(files(tmp_path))


def test_the_newest_file_is_never_removed(tmp_path: Path) -> None:
    """A single file larger than ``keep_bytes`` stays, and so does what is not ours."""
    (tmp_path / "notes.arrows").write_bytes(b"x" * 10_000)
    out = folder(tmp_path, rotate_bytes=1, keep_bytes=1)
    out.write(counting("a", 1000))
    out.close()
    assert len(files(tmp_path)) == 2


def torn(path: Path, batches: int, tail: bytes) -> Path:
    """A ``.part`` as a crash leaves it: some batches and a piece of one more."""
    out = folder(path)
    for start in range(batches):
        out.write(counting("a", 1, start))
    (part,) = path.glob("*.part")
    content = part.read_bytes()
    out.close()
    (closed,) = path.glob("*.arrows")
    closed.unlink()
    part.write_bytes(content + tail)
    return part


@pytest.mark.parametrize("tail", [b"", b"\xff\xff\xff\xff\xb8\0\0\0 a piece", bytes(5000)])
def test_what_a_crash_left_open_is_mended(tmp_path: Path, tail: bytes) -> None:
    """At the next start the file is cut to its last whole batch and gets its name."""
    torn(tmp_path, 3, tail)
    folder(tmp_path).close()
    assert rows(tmp_path) == [0, 1, 2]
    assert files(tmp_path) == [f for f in files(tmp_path) if f.endswith(".arrows")]


def test_a_file_without_a_batch_is_removed(tmp_path: Path) -> None:
    """A crash in the first write, or before it, leaves nothing behind."""
    part = torn(tmp_path, 1, b"")
    part.write_bytes(part.read_bytes()[:-1])
    (tmp_path / "a-20231114T221320Z-000009.arrows.part").touch()
    folder(tmp_path).close()
    assert files(tmp_path) == []


def test_garbage_is_kept_for_a_look(tmp_path: Path) -> None:
    """A ``.part`` that is no stream is set aside; files of other names are left alone."""
    name = "a-20231114T221320Z-000000.arrows"
    for other in (f"{name}.part", "mine.arrows.part", "mine.txt"):
        (tmp_path / other).write_bytes(b"not arrow")
    folder(tmp_path).close()
    assert files(tmp_path) == [f"{name}.broken", "mine.arrows.part", "mine.txt"]
    assert (tmp_path / f"{name}.broken").read_bytes() == b"not arrow"


def test_a_name_is_never_given_twice(tmp_path: Path) -> None:
    """Two runs in one second have files of their own."""
    for start in range(3):
        out = folder(tmp_path)
        out.write(counting("a", 1, start))
        out.close()
    assert rows(tmp_path) == [0, 1, 2]


WRITER = """
import asyncio, sys
from tests.batches import counting
from tests.contexts import context
from tapio.sinks import file
from tapio.sinks.file import File

async def main():
    async with File(sys.argv[1]).open(context()) as write:
        n = 0
        while True:
            await write(counting("a", 7, n, who=[str(n)] * 7))
            n += 7
            print(n, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another agent that writes to the same folder as fast as it can."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"7\n"
        yield process
        process.kill()


def test_a_second_agent_is_refused(tmp_path: Path, other_process: subprocess.Popen[bytes]) -> None:
    """Who comes second is told who came first, and touches nothing."""
    with pytest.raises(ConfigError) as caught:
        folder(tmp_path)
    sentence = f"path: process {other_process.pid} writes to {tmp_path} already"
    assert str(caught.value) == f"{sentence}; give this one another path"
    assert other_process.stdout is not None
    assert other_process.stdout.readline()  # it goes on


def test_nothing_delivered_is_lost_by_a_kill(
    tmp_path: Path, other_process: subprocess.Popen[bytes]
) -> None:
    """After SIGKILL the lock is free, and each row whose Write had returned is there, once."""
    assert other_process.stdout is not None
    while int(other_process.stdout.readline()) < 700:
        pass
    other_process.send_signal(signal.SIGKILL)
    delivered = int([700, *other_process.stdout.read().split()][-1])
    other_process.wait()
    folder(tmp_path).close()
    found = rows(tmp_path)
    assert found == list(range(len(found)))
    assert delivered <= len(found) <= delivered + 7
    assert files(tmp_path)[0].endswith(".arrows")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fits(out: Folder, batch: Batch) -> bool:
    """Whether there was room for the batch."""
    try:
        out.write(batch)
    except Retryable as error:
        sentence = f"the disk of {out.path} is full: make room, the rows are held until then"
        return str(error) != sentence
    return True


def test_a_full_disk_holds_the_rows_back(small_disk: Path) -> None:
    """Write raises Retryable, the file stays whole, and with room again nothing is missing."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(200 << 10))
    out = folder(small_disk)
    taken = 0
    while fits(out, counting("a", 500, 500 * taken)):
        taken += 1
    assert taken > 0
    assert rows(small_disk) == list(range(500 * taken))
    for _ in range(3):
        with pytest.raises(Retryable, match="full"):
            out.write(counting("a", 2000, 500 * taken))
        assert len(files(small_disk)) == 2  # an attempt leaves nothing behind
    filler.unlink()
    out.write(counting("a", 500, 500 * taken))
    out.close()
    assert rows(small_disk) == list(range(500 * (taken + 1)))


def test_a_file_ends_without_a_mark_on_a_full_disk(small_disk: Path) -> None:
    """Where a file fills its last page there is no room for the end mark; it is whole still."""
    segment = Segment(small_disk / "a.arrows", page_filling(1).to_arrow().schema, 0.0, sync=False)
    for length in range(10_000):
        size = len(arrow.Encoder(segment.schema).encode(page_filling(length).to_arrow()))
        if size % 4096 == 0:
            segment.append(page_filling(length).to_arrow())
            break
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filler").write_bytes(bytes(1 << 20))
    segment.close(sync=True)
    assert (small_disk / "a.arrows").stat().st_size == size
    assert arrow.decode((small_disk / "a.arrows").read_bytes())[0].rows == 1


def page_filling(length: int) -> Batch:
    """One row with a binary of ``length`` bytes."""
    return counting("a", 1).with_columns({Field("b", "binary"): pa.array([b"x" * length])})


async def test_a_full_disk_is_retryable_through_the_sink(small_disk: Path) -> None:
    """The error comes through the thread, and closing the sink on a full disk is quiet."""
    async with File(str(small_disk), sync="batch").open(context()) as write:
        await write(counting("a", 100))
        (small_disk / "filler").write_bytes(bytes((256 - 20) << 10))
        with pytest.raises(Retryable, match="full"):
            await write(counting("a", 20_000))
    assert rows(small_disk) == list(range(100))


def test_a_read_only_disk_is_said_at_open(small_disk: Path) -> None:
    """A folder that cannot be written is an error of the configuration, before any row."""
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ConfigError) as caught:
        folder(small_disk)
    reason = f"cannot write to {small_disk}: Read-only file system"
    assert str(caught.value) == f"path: {reason}; make it writable or give another path"


def test_a_path_that_is_a_file_is_said(tmp_path: Path) -> None:
    """Neither a file in the folder's place is any good."""
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match="File exists"):
        folder(tmp_path / "out")


def test_removed_files_are_begun_anew(tmp_path: Path) -> None:
    """When somebody empties or removes the folder, the next rows go to a new file."""
    path = tmp_path / "out"
    out = folder(path)
    out.write(counting("a", 1, 0))
    for left in (1, 2):
        for found in path.iterdir():
            found.unlink()
        if left == 2:
            path.rmdir()
        out.write(counting("a", 1, left))
    with pytest.raises(ConfigError, match="already"):
        folder(path)
    out.close()
    assert rows(path) == [2]


async def test_a_cancelled_write_leaves_the_file_whole(tmp_path: Path) -> None:
    """Cancelled, a Write may have written its rows, but never half of them."""
    async with File(str(tmp_path)).open(context()) as write:
        for start in range(0, 3000, 100):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await write(counting("a", 100, start))
        await write(counting("a", 100, 3000))
    found = rows(tmp_path)
    assert found == sorted(found)
    assert len(found) % 100 == 0
    assert found[-100:] == list(range(3000, 3100))


def test_a_failed_sync_is_no_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk refuses to sync, the rows are not said to be there, nor left there."""

    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    out = folder(tmp_path, sync_batch=True)
    out.write(counting("a", 1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        with pytest.raises(Retryable, match="Input/output error"):
            out.write(counting("a", 1, 1))
    out.write(counting("a", 1, 1))
    out.close()
    assert rows(tmp_path) == [0, 1]


def test_closing_survives_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows delivered are not delivered again because their file could not be renamed."""

    def refuse(self: Path, target: Path) -> None:
        raise OSError(5, "Input/output error")

    out = folder(tmp_path, rotate_bytes=1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        out.write(counting("a", 1))
    assert "cannot close" in caplog.text
    out.close()
    folder(tmp_path).close()
    assert rows(tmp_path) == [0]
