"""The process observer on the running kernel: what is started and ended is what it says."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from tapio.kernel import vmlinux
from tapio.observers.process import Process
from tests.kernel.running import Said, balanced, run

pytestmark = pytest.mark.kernel

NOBODY = 65_534


def started(*argv: str | bytes, **options: Any) -> int:
    """Run ``argv`` to its end; its pid."""
    process = subprocess.Popen(argv, **options)
    process.wait()
    return process.pid


def of(rows: list[dict[str, Any]], pid: int) -> dict[str, Any]:
    """The one row of ``pid``."""
    (row,) = [row for row in rows if row["pid"] == pid]
    return row


async def test_each_process_gives_one_exec_and_one_exit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """200 processes, while another thread starts others: right pid, parent, argv and code."""
    pids: list[int] = []

    def body() -> None:
        done = threading.Event()
        other = threading.Thread(target=lambda: [started("true") for _ in until(done)])
        other.start()
        for n in range(200):
            pids.append(started("/bin/sh", "-c", f"exit {n % 7}", f"--number={n}"))
        done.set()
        other.join()

    said = await run(Process(), body)
    execs, exits = said.rows("process.exec"), said.rows("process.exit")
    for n, pid in enumerate(pids):
        begin, end = of(execs, pid), of(exits, pid)
        argv = f"/bin/sh -c exit {n % 7} --number={n}"
        assert (begin["argv"], begin["argv_bytes"]) == (argv, len(argv) + 1)
        assert (begin["file"], begin["comm"]) == ("/bin/sh", "sh")
        assert (end["exit_code"], end["signal"], end["core"]) == (n % 7, 0, False)
        assert begin["parent_pid"] == end["parent_pid"] == os.getpid()
        assert begin["start_ns"] == end["start_ns"]
        assert begin["uid"] == end["uid"] == os.getuid()
        assert end["severity"] == (9 if n % 7 == 0 else 13)
    for topic in ("process.exec", "process.exit"):
        assert said.accounts[topic]["lost"] == 0
        assert balanced(said.accounts[topic])
    lost = sum(account["lost"] for account in said.accounts.values())
    with capsys.disabled():
        sys.stdout.write(f"\nlost = {lost}\n")


def until(done: threading.Event) -> Any:
    """Go on until ``done``."""
    while not done.is_set():
        yield


async def test_the_sequence_of_each_topic_has_no_gap() -> None:
    """Rows of a topic are numbered from 0 on, over all its batches, each at its own time."""
    began = time.time_ns()
    said = await run(Process(), lambda: [started("true") for _ in range(20)])
    for topic in ("process.exec", "process.exit"):
        rows = said.rows(topic)
        assert [row["seq"] for row in rows] == list(range(len(rows)))
        times = [row["time_ns"] for row in rows]
        assert began - 10_000_000 <= min(times) <= max(times) <= time.time_ns() + 10_000_000


@pytest.mark.parametrize(
    ("script", "severity"),
    [
        ("kill -KILL $$", 17),
        ("kill -SEGV $$", 17),
        ("kill -TERM $$", 13),
        ("kill -PIPE $$", 13),
        ("exit 255", 13),
        ("true", 9),
    ],
)
async def test_how_a_process_ended_is_what_its_parent_is_told(script: str, severity: int) -> None:
    """Code, signal and core flag agree with waitpid."""
    ended: list[tuple[int, int]] = []

    def body() -> None:
        child = subprocess.Popen(["/bin/sh", "-c", script])
        ended.append(os.waitpid(child.pid, 0))
        child.returncode = 0

    said = await run(Process(), body)
    pid, status = ended[0]
    row = of(said.rows("process.exit"), pid)
    assert row["exit_code"] == (os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0)
    assert row["signal"] == (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)
    assert row["core"] == os.WCOREDUMP(status)
    assert row["severity"] == severity


THREADS = """
import os, sys, threading, time
threads = [threading.Thread(target=time.sleep, args=(0.05,)) for _ in range(8)]
for thread in threads: thread.start()
if sys.argv[1] == "exec":
    threading.Thread(target=os.execv, args=("/bin/sh", ["sh", "-c", "exit 3"])).start()
    time.sleep(1)
if sys.argv[1] == "exit":
    threading.Thread(target=os._exit, args=(3,)).start()
    time.sleep(1)
"""


@pytest.mark.parametrize(("how", "code"), [("exec", 3), ("exit", 3), ("join", 0)])
async def test_threads_are_no_processes(how: str, code: int) -> None:
    """However a process of nine threads ends or execs, it is one row under its own pid."""
    pids: list[int] = []
    said = await run(Process(), lambda: pids.append(started(sys.executable, "-c", THREADS, how)))
    assert of(said.rows("process.exit"), pids[0])["exit_code"] == code
    execs = [row for row in said.rows("process.exec") if row["pid"] == pids[0]]
    assert len(execs) == (2 if how == "exec" else 1)


async def test_a_kernel_without_the_group_argument_gives_the_same_exits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The program for older tracepoints sees each process end once, and its code."""
    monkeypatch.setattr(vmlinux, "arguments", lambda tracepoint: 1)
    pids: list[int] = []

    def body() -> None:
        pids.extend(started("/bin/sh", "-c", f"exit {n}") for n in range(20))
        pids.append(started(sys.executable, "-c", THREADS, "join"))

    said = await run(Process(), body)
    exits = said.rows("process.exit")
    assert [of(exits, pid)["exit_code"] for pid in pids] == [*range(20), 0]


async def test_a_long_command_line_is_cut_and_its_length_kept() -> None:
    """512 bytes of argv, and how many there were."""
    long = "x" * 3000
    pids: list[int] = []
    said = await run(Process(), lambda: pids.append(started("/bin/true", long)))
    row = of(said.rows("process.exec"), pids[0])
    assert row["argv"] == f"/bin/true {long}"[:512]
    assert row["argv_bytes"] == len("/bin/true") + 1 + 3000 + 1


@pytest.mark.parametrize(("most", "kept"), [(0, ""), (6, "/bin/t")])
async def test_argv_is_read_as_far_as_is_asked(most: int, kept: str) -> None:
    """With argv_bytes at 0 no byte of a command line leaves the kernel."""
    pids: list[int] = []
    said = await run(
        Process(argv_bytes=most), lambda: pids.append(started("/bin/true", "--password=x"))
    )
    row = of(said.rows("process.exec"), pids[0])
    assert (row["argv"], row["argv_bytes"]) == (kept, 23)


async def test_arguments_that_are_no_text_are_replaced_and_counted() -> None:
    """Invalid UTF-8 becomes U+FFFD, and the account says how often."""
    pids: list[int] = []
    said = await run(Process(), lambda: pids.append(started("/bin/true", b"\xff\xfe", "ä")))
    assert of(said.rows("process.exec"), pids[0])["argv"] == "/bin/true �� ä"
    assert said.accounts["process.exec"]["replaced"] == 1


async def test_an_empty_argument_list_is_an_empty_text() -> None:
    """Arguments may be empty; the kernel makes one empty argument of none."""
    pids: list[int] = []
    said = await run(Process(), lambda: pids.append(started("", "", executable="/bin/true")))
    assert of(said.rows("process.exec"), pids[0])["argv"] == " "


async def test_a_script_is_named_by_its_file(tmp_path: Any) -> None:
    """Of ``#!`` the file is the script's, and argv begins with the interpreter."""
    script = tmp_path / "a-script"
    script.write_text("#!/bin/sh\nexit 4\n")
    script.chmod(0o755)
    pids: list[int] = []
    said = await run(Process(), lambda: pids.append(started(str(script), "arg")))
    row = of(said.rows("process.exec"), pids[0])
    assert (row["file"], row["comm"]) == (str(script), "a-script")
    assert row["argv"] == f"/bin/sh {script} arg"


async def test_the_user_is_that_of_the_process() -> None:
    """A process of another user has that user's id."""
    pids: list[int] = []
    said = await run(Process(), lambda: pids.append(started("/bin/true", user=NOBODY)))
    assert of(said.rows("process.exit"), pids[0])["uid"] == NOBODY


BUSY = """
import resource, time
held = bytearray(80 << 20)
until = time.process_time() + 0.3
while time.process_time() < until: pass
time.sleep(0.2)
print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""


async def test_what_a_process_used_is_what_the_kernel_tells_others() -> None:
    """Lifetime and CPU time are wait4's, peak memory is /proc's (rusage's has its parent's)."""
    ended: list[tuple[int, float, resource.struct_rusage, int]] = []

    def body() -> None:
        began = time.monotonic()
        with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as child:
            pid, _, usage = os.wait4(child.pid, 0)
            child.returncode = 0
            assert child.stdout
            peak = int(child.stdout.read()) * 1024
        ended.append((pid, time.monotonic() - began, usage, peak))

    said = await run(Process(), body)
    pid, seconds, usage, peak = ended[0]
    row = of(said.rows("process.exit"), pid)
    assert row["lifetime_ns"] == pytest.approx(seconds * 1e9, rel=0.1)
    assert row["cpu_ns"] == pytest.approx((usage.ru_utime + usage.ru_stime) * 1e9, abs=10e6)
    assert 80 << 20 < row["peak_rss"] == pytest.approx(peak, rel=0.02)


async def test_a_small_child_of_a_large_process_has_a_small_peak() -> None:
    """The peak is the program's own, not that of the process that forked it."""
    large = bytearray(200 << 20)
    pids: list[int] = []

    def body() -> None:
        pid = os.posix_spawn("/bin/true", ["true"], {})
        os.waitpid(pid, 0)
        pids.append(pid)

    said = await run(Process(), body)
    assert 0 < of(said.rows("process.exit"), pids[0])["peak_rss"] < 20 << 20
    assert len(large)


async def test_two_pipelines_see_the_same_processes() -> None:
    """Each has rings, counters and configuration of its own."""
    pids: list[int] = []
    both: list[Said] = []

    async def one(source: Process) -> None:
        both.append(await run(source, lambda: pids.extend(started("/bin/true") for _ in range(20))))

    async with asyncio.TaskGroup() as group:
        group.create_task(one(Process()))
        group.create_task(one(Process(argv_bytes=0)))
    said = [{row["pid"]: row["argv"] for row in s.rows("process.exec")} for s in both]
    shared = set(pids) & said[0].keys() & said[1].keys()
    assert len(shared) >= 20
    assert {text for s in said for pid, text in s.items() if pid in shared} == {"/bin/true", ""}


async def test_at_the_stop_nothing_is_left_in_a_ring() -> None:
    """Detached first, drained then: exact while others go on starting processes."""
    done = threading.Event()
    other = threading.Thread(target=lambda: [started("true") for _ in until(done)])
    other.start()
    try:
        for _ in range(5):
            said = await run(Process(), lambda: time.sleep(0.1))
            for account in said.accounts.values():
                assert account["in_ring"] == 0 < account["taken"]
                assert balanced(account)
    finally:
        done.set()
        await asyncio.to_thread(other.join)


async def test_killed_at_stop_is_still_seen() -> None:
    """What happens right before the stop is drained after the programs are detached."""
    pids: list[int] = []

    def body() -> None:
        child = subprocess.Popen(["sleep", "60"])
        pids.append(child.pid)
        child.send_signal(signal.SIGKILL)
        child.wait()

    said = await run(Process(), body)
    assert of(said.rows("process.exit"), pids[0])["signal"] == signal.SIGKILL
