"""procfs: real processes, real counters, real pressure; and hosts where some are missing."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tapio.kernel.host import unified
from tapio.model.batch import Batch
from tapio.model.errors import ConfigError, EndOfStream
from tapio.model.schema import Schema
from tapio.model.stage import Context, Read
from tapio.model.ticket import Outcome
from tapio.observers import process
from tapio.sources.figures import PRESSURE, TCP, Moment, Pressure, Tcp
from tapio.sources.processes import END, START, Processes, contents
from tapio.sources.procfs import Procfs
from tests.contexts import context

ROOT = Path("/")


def rows(batches: list[Batch], topic: str) -> list[dict[str, Any]]:
    """The rows of a topic."""
    return [row for b in batches if b.topic == topic for row in b.to_arrow().to_pylist()]


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


def until(true: Callable[[], bool]) -> None:
    """Wait for something that the kernel is about to do."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def running(program: subprocess.Popen[bytes], comm: str) -> bool:
    """Whether the child has come so far as to run the program."""
    return Path(f"/proc/{program.pid}/comm").read_text() == f"{comm}\n"


def test_what_is_told_of_a_process() -> None:
    """Its row says what it is and when it began; the row of its end, that it was the same."""
    table = Processes(ROOT, 512)
    table.look()
    with subprocess.Popen(["sleep", "60"]) as program:
        until(lambda: running(program, "sleep"))
        now, boot = time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        started = table.started(table.look().begun, now - boot)
        (start,) = [r for r in rows([*started], "process.start") if r["pid"] == program.pid]
        program.kill()
    (end,) = [
        r
        for r in rows([*table.gone(table.look().ended, 7)], "process.end")
        if r["pid"] == program.pid
    ]
    assert (start["argv"], start["comm"]) == ("sleep 60", "sleep")
    assert (start["parent_pid"], start["uid"]) == (os.getpid(), os.getuid())
    assert now - 20_000_000_000 < start["time_ns"] <= now
    assert end["time_ns"] == 7
    shared = [f.name for f in END.fields if f.name not in ("time_ns", "seq")]
    assert [end[n] for n in shared] == [start[n] for n in shared]


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


def traffic() -> None:
    """One connection over loopback, accepted and closed."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0],
    ):
        pass


@pytest.fixture
def our_network(tmp_path: Path) -> Path:
    """A host root whose pid 1 is this process: its network namespace is ours."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "1").symlink_to("/proc/self")
    return tmp_path


def test_tcp_counters(our_network: Path) -> None:
    """Connections made between two looks are counted, and only those."""
    tcp = Tcp(our_network)
    assert tcp.look(Moment(0, 0)) is None
    for _ in range(3):
        traffic()
    batch = tcp.look(Moment(5, 2_000))
    assert batch is not None
    assert batch.schema == TCP
    assert batch["active_opens"][0] >= 3
    assert batch["passive_opens"][0] >= 3
    assert batch["active_opens"][0] < 1000
    assert (batch["time_ns"][0], batch["interval_ns"][0]) == (5, 2_000)


SNMP = "Tcp: ActiveOpens CurrEstab\nTcp: {} -1\n"


def test_counters_that_went_back_are_left_out(tmp_path: Path) -> None:
    """When pid 1 is another one, one interval is not known; then it goes on."""
    net = tmp_path / "proc" / "1" / "net"
    net.mkdir(parents=True)
    (net / "netstat").write_text("")
    tcp = Tcp(tmp_path)
    seen = []
    for opens in (5, 9, 2, 2**64 - 1):
        (net / "snmp").write_text(SNMP.format(opens))
        batch = tcp.look(Moment(0, 0))
        seen.append(None if batch is None else int(batch["active_opens"][0]))
    assert seen == [None, 4, None, 2**64 - 3]


def test_pressure() -> None:
    """One row a resource; what was waited is no longer than the interval can be."""
    pressure = Pressure(ROOT)
    assert pressure.look(Moment(0, time.monotonic_ns())) is None
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        time.sleep(0.2)
        busy.kill()
    batch = pressure.look(Moment(7, time.monotonic_ns()))
    assert batch is not None
    assert batch.schema == PRESSURE
    assert batch["resource"].to_pylist()[:3] == ["cpu", "memory", "io"]
    assert (batch["some_ns"] <= batch["interval_ns"] * 2).all()
    assert (batch["some_avg10"] <= 100).all()


def psi(total: int) -> str:
    """A line of a pressure file."""
    return f"some avg10=1.50 avg60=2.00 avg300=3.00 total={total}\n"


def test_pressure_by_difference(tmp_path: Path) -> None:
    """Totals are told by difference in ns; a resource without a line for all reads 0 there."""
    folder = tmp_path / "proc" / "pressure"
    folder.mkdir(parents=True)
    pressure = Pressure(tmp_path)
    for total in (1_000, 1_250):
        (folder / "io").write_text(psi(total))
        batch = pressure.look(Moment(0, 10 * total))
    assert batch is not None
    assert rows([batch], "pressure.stall") == [
        {"time_ns": 0, "seq": 0, "severity": 9, "interval_ns": 2_500, "resource": "io"}
        | {"some_avg10": 1.5, "some_avg60": 2.0, "some_avg300": 3.0, "some_ns": 250_000}
        | {"full_avg10": 0.0, "full_avg60": 0.0, "full_avg300": 0.0, "full_ns": 0}
    ]


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


class Host:
    """A made-up host root whose processes are copies of a real one, changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc").mkdir()

    def begin(
        self,
        pid: int,
        start: int = 100,
        comm: bytes = b"x",
        argv: bytes = b"x\0",
        flags: int = 4194304,
    ) -> None:
        """Put a process there."""
        folder = self.root / "proc" / str(pid)
        folder.mkdir()
        tail = b" S 1 1 1 0 -1 %d 1 0 0 0 1 2 0 0 20 0 1 0 %d 1 1" % (flags, start)
        (folder / "stat").write_bytes(b"%d (%s)%s" % (pid, comm, tail))
        (folder / "status").write_text("Uid:\t7\t0\t0\t0\n")
        (folder / "cgroup").write_text("0::/\n")
        (folder / "cmdline").write_bytes(argv)

    def end(self, pid: int) -> None:
        """Take it away."""
        shutil.rmtree(self.root / "proc" / str(pid))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """An empty host."""
    return Host(tmp_path)


def pids(found: list[Any]) -> list[int]:
    """Of what a look found."""
    return sorted(p.pid for p in found)


def test_a_pid_used_again(host: Host) -> None:
    """A pid that ended and began between two looks is told as both."""
    table = Processes(host.root, 512)
    host.begin(5, start=100)
    assert pids(table.look().begun) == [5]
    (host.root / "proc" / "5").rename(host.root / "old")  # or its inode is used again
    host.begin(5, start=200)
    begun, ended = table.look()
    assert [(p.pid, p.start_ns) for p in ended] == [(5, 1_000_000_000)]
    assert [(p.pid, p.start_ns) for p in begun] == [(5, 2_000_000_000)]


def test_another_inode_alone_is_no_news(host: Host) -> None:
    """The kernel drops its caches: the folder is another one, the process is the same."""
    table = Processes(host.root, 512)
    host.begin(5)
    table.look()
    (host.root / "proc" / "5").rename(host.root / "old")
    host.begin(5)
    assert table.look() == ([], [])
    host.end(5)
    assert pids(table.look().ended) == [5]


def test_who_is_gone_before_it_is_read_is_counted(host: Host) -> None:
    """A folder without its files is a process that has just ended: no row, but counted."""
    table = Processes(host.root, 512)
    host.begin(5)
    (host.root / "proc" / "5" / "status").unlink()
    assert table.look() == ([], [])
    assert table.tally.missed == 1
    host.end(5)
    assert table.look() == ([], [])


def test_threads_of_the_kernel_are_left_out(host: Host) -> None:
    """They run no program, come by the dozen, and are nobody's."""
    table = Processes(host.root, 512)
    host.begin(5, flags=0x208040)
    assert table.look() == ([], [])
    assert table.tally.missed == 0
    host.end(5)
    assert table.look() == ([], [])


def test_long_files_are_read_whole() -> None:
    """The kernel gives a page at a time; as much is read as was asked for, and no more."""
    assert len(contents("/proc/kallsyms", 20_000)) == 20_000
    assert contents("/proc/self/comm", 3) == Path("/proc/self/comm").read_bytes()[:3]
    assert contents("/proc/self/cmdline", 0) == b""


def test_bad_text_is_replaced_and_counted(host: Host) -> None:
    """Names and arguments that are no UTF-8 are shown as far as they are."""
    table = Processes(host.root, 512)
    host.begin(5, comm=b"\xffx", argv=b"a\0\xff\0")
    (batch,) = table.started(table.look().begun, 0)
    assert batch["comm"].to_pylist() == ["\ufffdx"]
    assert batch["argv"].to_pylist() == ["a \ufffd"]
    assert table.tally.replaced == 2


@pytest.mark.parametrize(("most", "kept"), [(0, ""), (4, "abcd"), (512, "abcdef gh")])
def test_command_lines_can_be_cut_or_left_out(host: Host, most: int, kept: str) -> None:
    """``argv_bytes`` is how much is read; 0 reads none, for it may hold secrets."""
    table = Processes(host.root, most)
    host.begin(5, argv=b"abcdef\0gh\0")
    (batch,) = table.started(table.look().begun, 0)
    assert batch["argv"].to_pylist() == [kept]


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


ORDINARY = """
import os, sys
from pathlib import Path
from tapio.sources.processes import Processes

if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
table = Processes(Path("/"), 512)
(wanted,) = [p for p in table.look().begun if p.pid == int(sys.argv[1])]
(batch,) = table.started([wanted], 0)
print(os.geteuid(), batch["uid"][0], batch["argv"][0])
"""


def test_it_needs_no_privilege() -> None:
    """An ordinary user sees the processes of others too, with their command lines."""
    with subprocess.Popen(["sleep", "61"]) as other:
        command = [sys.executable, "-c", ORDINARY, str(other.pid)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        other.kill()
    assert done.stderr == ""
    assert done.stdout.strip() in ("65534 0 sleep 61", f"{os.getuid()} {os.getuid()} sleep 61")


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A real cgroup of the unified tree, two levels deep."""
    tree = unified(ROOT)
    if os.geteuid() != 0 or tree is None:
        pytest.skip("making a cgroup needs root and a unified tree")
    outer = Path(os.fsdecode(tree)) / f"tapio-test-{os.getpid()}"
    inner = outer / "in ner"
    inner.mkdir(parents=True)
    yield inner
    inner.rmdir()
    outer.rmdir()


def inode(folder: Path) -> int:
    """A cgroup's id."""
    return folder.stat().st_ino


async def test_the_cgroup_of_a_process(cgroup: Path) -> None:
    """Path and id are those of the folder that the process was put into."""
    cx = context()
    async with Procfs(60, tcp=False, pressure=False).open(cx) as read:
        command = f"echo $$ > '{cgroup}/cgroup.procs'; exec sleep 60"
        program = await asyncio.create_subprocess_exec("sh", "-c", command)
        until(lambda: str(program.pid) in (cgroup / "cgroup.procs").read_text().split())
        stop(cx)
        found = rows(await taken(read), "process.start")
    program.kill()
    await program.wait()
    (row,) = [r for r in found if r["pid"] == program.pid]
    assert row["cgroup_id"] == inode(cgroup)
    assert row["cgroup"] == f"/{cgroup.parent.name}/in ner"


INSIDE = """
import sys
from pathlib import Path
from tapio.sources.processes import Processes

print(Path(f"/proc/{sys.argv[1]}/cgroup").read_text().split("0::")[1].strip())
(found,) = [p for p in Processes(Path(sys.argv[2]), 0).look().begun if p.pid == int(sys.argv[1])]
print(found.cgroup.value, found.cgroup_id, sep="\\n")
"""

CONTAINER = """
set -e
echo $$ > "$beside/cgroup.procs"
exec unshare --cgroup --mount sh -ec '
    mkdir -p "$host/proc" "$host/sys/fs/cgroup"
    mount --bind /proc "$host/proc"
    mount --bind "$tree" "$host/sys/fs/cgroup"
    umount "$tree"
    mount -t cgroup2 none "$tree"
    exec "$python" -c "$program" "$pid" "$host"
'
"""
"""A container as an agent's: a cgroup namespace of its own, the host's tree mounted beside."""


def test_the_cgroups_of_others_from_a_namespace_of_our_own(cgroup: Path, tmp_path: Path) -> None:
    """In a container paths of others begin with ``/..``; they are found in the host's tree."""
    beside = cgroup.parent / "beside"
    beside.mkdir()
    with subprocess.Popen(["sleep", "60"]) as other:
        (cgroup / "cgroup.procs").write_text(str(other.pid))
        said = {"beside": beside, "host": tmp_path / "host", "tree": cgroup.parent.parent}
        said |= {"python": sys.executable, "program": INSIDE, "pid": other.pid}
        environ = os.environ | {name: str(value) for name, value in said.items()}
        done = subprocess.run(
            ["sh", "-c", CONTAINER], env=environ, capture_output=True, text=True, check=False
        )
        other.kill()
    beside.rmdir()
    assert done.stderr == ""
    shown, path, cgroup_id = done.stdout.splitlines()
    assert shown == "/../in ner"
    assert path == f"/{cgroup.parent.name}/in ner"
    assert int(cgroup_id) == inode(cgroup)
