"""The process table: what is told of real processes, and of hosts made up to be difficult."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapio.kernel.host import unified
from tapio.sources.processes import END, Processes, contents
from tests.sources.hosts import ROOT, Host, pids, rows, running, until


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


ORDINARY = """
import os, sys
from pathlib import Path
from tapio.sources.processes import Processes

def told(pid):
    table = Processes(Path("/"), 512)
    (batch,) = table.started([p for p in table.look().begun if p.pid == pid], 0)
    return batch

told(os.getpid())  # whatever Python still has to import, it may not be able to read as nobody
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
batch = told(int(sys.argv[1]))
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


def test_the_cgroup_of_a_process(cgroup: Path) -> None:
    """Path and id are those of the folder that the process was put into."""
    command = f"echo $$ > '{cgroup}/cgroup.procs'; exec sleep 60"
    with subprocess.Popen(["sh", "-c", command]) as program:
        until(lambda: str(program.pid) in (cgroup / "cgroup.procs").read_text().split())
        (found,) = [p for p in Processes(ROOT, 0).look().begun if p.pid == program.pid]
        program.kill()
    assert found.cgroup_id == cgroup.stat().st_ino
    assert found.cgroup.value == f"/{cgroup.parent.name}/in ner"


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
    assert int(cgroup_id) == cgroup.stat().st_ino
