"""Real processes to wait for, and made-up hosts to look at."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tapio.model.batch import Batch

ROOT = Path("/")


def rows(batches: list[Batch], topic: str) -> list[dict[str, Any]]:
    """The rows of a topic."""
    return [row for b in batches if b.topic == topic for row in b.to_arrow().to_pylist()]


def until(true: Callable[[], bool]) -> None:
    """Wait for something that the kernel is about to do."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def running(program: subprocess.Popen[bytes], comm: str) -> bool:
    """Whether the child has come so far as to run the program."""
    return Path(f"/proc/{program.pid}/comm").read_text() == f"{comm}\n"


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


def pids(found: list[Any]) -> list[int]:
    """Of what a look found."""
    return sorted(p.pid for p in found)
