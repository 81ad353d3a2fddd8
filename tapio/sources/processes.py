"""The processes of a /proc: which have begun and which have ended since the last look."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tapio.codec import procfs
from tapio.codec.procfs import Text
from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.columns import Column
from tapio.model.errors import DecodeError
from tapio.model.schema import INFO, Field, Schema
from tapio.sources.unified import Unified

ABOUT = (
    Field("pid", "uint32", attribute="process.pid", doc="Process id."),
    Field("parent_pid", "uint32", attribute="process.parent_pid", doc="Its parent's id."),
    Field("uid", "uint32", attribute="process.real_user.id", doc="Real user id."),
    Field(
        "start_ns", "uint64", "ns", "process.start_boot_ns", "When the process began, since boot."
    ),
    Field(
        "cgroup_id",
        "uint64",
        attribute="process.cgroup.id",
        doc="Its cgroup in the unified tree; 0 unknown.",
    ),
    Field("comm", "text", attribute="process.executable.name", doc="Name, at most 15 bytes."),
    Field("cgroup", "text", attribute="process.cgroup.path", doc="Its path in the unified tree."),
)
START = Schema.of(
    "process.start",
    *ABOUT,
    Field(
        "argv",
        "string",
        attribute="process.command_line",
        doc="Arguments joined by spaces, the first argv_bytes of them.",
    ),
)
END = Schema.of("process.end", *ABOUT)

STATUS_BYTES, CGROUP_BYTES = 4096, 1 << 16
"""Most of a file that is read; the Uid stands in the first 300 bytes of a status."""


class Process(NamedTuple):
    """A process as it was when it was first seen."""

    pid: int
    parent_pid: int
    uid: int
    start_ns: int
    comm: Text
    cgroup: Text
    cgroup_id: int


class Change(NamedTuple):
    """What a look found: processes that have begun, and processes that are gone."""

    begun: list[Process]
    ended: list[Process]


@dataclass(slots=True)
class Tally:
    """What could not be told as it is."""

    missed: int = 0
    """Processes that were gone, or not to be read, when they were looked at."""
    replaced: int = 0
    """Texts of rows in which invalid UTF-8 was replaced."""


class Processes:
    """Remembers who is alive. Blocking; one thread at a time.

    A listing of /proc costs about 1.5 µs a process; only new ones are opened, four files
    each. A pid is new where the inode of its folder is: that changes when the pid is used
    again (and when the kernel drops caches, so the start time decides).
    """

    def __init__(self, host_root: Path, argv_bytes: int) -> None:
        self.tally = Tally()
        self._proc = str(host_root / "proc")
        self._unified = Unified(host_root)
        self._argv_bytes = argv_bytes
        self._tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        self._inodes: dict[int, int] = {}
        self._alive: dict[int, Process] = {}

    def look(self) -> Change:
        """What has changed since the last look; the first finds all as begun.

        OSError where there is no process table.
        """
        with os.scandir(self._proc) as entries:
            seen = {int(e.name): e.inode() for e in entries if e.name.isdecimal()}
        ended = [self._alive.pop(pid) for pid in self._alive.keys() - seen.keys()]
        begun = []
        for pid in [p for p, inode in seen.items() if self._inodes.get(p) != inode]:
            found = self._read(pid)
            before = self._alive.pop(pid, None)
            same = before and found and before.start_ns == found.start_ns
            if before and not same:
                ended.append(before)
            if found:
                self._alive[pid] = before if before and same else found
                begun += [] if same else [found]
        self._inodes = seen
        return Change(begun, ended)

    def _read(self, pid: int) -> Process | None:
        """The process; None for kernel threads, and for what is gone already (counted)."""
        folder = f"{self._proc}/{pid}"
        try:
            stat = procfs.stat(contents(f"{folder}/stat", STATUS_BYTES))
            if stat.kernel_thread:
                return None
            uid = procfs.real_uid(contents(f"{folder}/status", STATUS_BYTES))
            path = procfs.unified_cgroup(contents(f"{folder}/cgroup", CGROUP_BYTES))
        except (OSError, DecodeError):
            self.tally.missed += 1
            return None
        path, cgroup_id = self._unified.resolve(path)
        start_ns = stat.start_ticks * self._tick_ns
        cgroup = procfs.text(path)
        return Process(pid, stat.parent_pid, uid, start_ns, stat.comm, cgroup, cgroup_id)

    def _argv(self, pid: int) -> Text:
        try:
            data = contents(f"{self._proc}/{pid}/cmdline", self._argv_bytes)
        except OSError:
            return Text("", False)
        return procfs.command_line(data)

    def started(self, begun: Sequence[Process], offset_ns: int) -> Iterator[Batch]:
        """Rows of processes that have begun; ``offset_ns`` is boot → wall time."""
        for some in _parts(begun):
            argv = [self._argv(process.pid) for process in some]
            self.tally.replaced += sum(text.replaced for text in argv)
            times = np.array([p.start_ns + offset_ns for p in some], np.int64)
            lines = pa.array([text.value for text in argv], pa.string())
            yield Batch(START, self._columns(some, times) | {"argv": lines})

    def gone(self, ended: Sequence[Process], now_ns: int) -> Iterator[Batch]:
        """Rows of processes that are found gone ``now_ns``."""
        for some in _parts(ended):
            yield Batch(END, self._columns(some, np.full(len(some), now_ns, np.int64)))

    def _columns(self, some: Sequence[Process], times: Column) -> dict[str, Column]:
        self.tally.replaced += sum(p.comm.replaced + p.cgroup.replaced for p in some)
        return {
            "time_ns": times,
            "seq": np.arange(len(some), dtype=np.uint64),
            "severity": np.full(len(some), INFO, np.uint8),
            "pid": np.array([p.pid for p in some], np.uint32),
            "parent_pid": np.array([p.parent_pid for p in some], np.uint32),
            "uid": np.array([p.uid for p in some], np.uint32),
            "start_ns": np.array([p.start_ns for p in some], np.uint64),
            "cgroup_id": np.array([p.cgroup_id for p in some], np.uint64),
            "comm": coded([p.comm.value for p in some]),
            "cgroup": coded([p.cgroup.value or None for p in some]),
        }


def _parts(some: Sequence[Process]) -> Iterator[Sequence[Process]]:
    """As many as a batch may hold, at a time."""
    return (some[start : start + MAX_ROWS] for start in range(0, len(some), MAX_ROWS))


def coded(texts: list[str] | list[str | None]) -> pa.DictionaryArray:
    """Coded text."""
    return pa.array(texts, pa.string()).dictionary_encode()


def contents(path: str, most: int) -> bytes:
    """The first ``most`` bytes of a file whose size nobody knows. OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, most)
        while data and len(data) < most and (more := os.read(fd, most - len(data))):
            data += more
        return data
    finally:
        os.close(fd)
