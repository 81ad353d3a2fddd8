"""Processes: a row for each exec, and one for each process that ends.

``pid`` with ``start_ns`` names a process for ever: both its rows carry them. Numbers are of the
host's pid namespace.
"""

from __future__ import annotations

import mmap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np

import tapio.kernel
from tapio.codec.btf import Btf
from tapio.codec.records import Records
from tapio.codec.text import names, strings
from tapio.kernel import vmlinux
from tapio.kernel.attach import Wanted, reading
from tapio.kernel.boot import Offset
from tapio.kernel.object import Object
from tapio.kernel.reader import Made
from tapio.model.schema import Field, Schema
from tapio.model.stage import Context, Read, Source

OBJECT = Path(tapio.kernel.__file__).with_name("objects") / "process.bpf.o"

PID = Field("pid", "uint32", attribute="process.pid", doc="Process id.")
PARENT = Field("parent_pid", "uint32", attribute="process.parent_pid", doc="Its parent's id.")
UID = Field("uid", "uint32", attribute="process.real_user.id", doc="Real user id.")
START = Field(
    "start_ns", "uint64", "ns", "process.start_boot_ns", "When the process began, since boot."
)
CGROUP = Field(
    "cgroup_id", "uint64", attribute="process.cgroup.id", doc="Its cgroup in the unified tree."
)
COMM = Field("comm", "text", attribute="process.executable.name", doc="Name, at most 15 bytes.")

EXEC = Schema.of(
    "process.exec",
    PID,
    PARENT,
    UID,
    START,
    CGROUP,
    COMM,
    Field("file", "text", attribute="process.executable.path", doc="Path given, 255 bytes of it."),
    Field(
        "argv",
        "string",
        attribute="process.command_line",
        doc="Arguments joined by spaces, 512 bytes of them at most.",
    ),
    Field("argv_bytes", "uint32", "By", "tapio.process.argv.size", "Whole length of argv."),
)
EXIT = Schema.of(
    "process.exit",
    PID,
    PARENT,
    UID,
    START,
    CGROUP,
    COMM,
    Field("exit_code", "uint8", attribute="process.exit.code", doc="Exit code; 0 if by a signal."),
    Field(
        "signal", "uint8", attribute="tapio.process.exit.signal", doc="Signal that ended it, or 0."
    ),
    Field("core", "bool", attribute="tapio.process.exit.core", doc="Whether it dumped core."),
    Field("lifetime_ns", "uint64", "ns", "tapio.process.lifetime", "From its begin to its end."),
    Field(
        "cpu_ns",
        "uint64",
        "ns",
        "tapio.process.cpu",
        "CPU time, a tick (1 to 10 ms) too low at most.",
    ),
    Field("peak_rss", "uint64", "By", "tapio.process.peak_rss", "Peak resident memory; 0 unknown."),
)


class Process(Source, frozen=True, tag="process"):
    """Process starts and ends, by eBPF. Needs CAP_BPF and CAP_PERFMON.

    ``argv_bytes`` of each command line are read, 0 reads none (it may hold secrets).
    ``ring_bytes`` is each of the two rings' size, rounded up to a power of two.
    """

    schemas: ClassVar[tuple[Schema, ...]] = (EXEC, EXIT)

    argv_bytes: Annotated[int, msgspec.Meta(ge=0, le=512)] = 512
    ring_bytes: Annotated[int, msgspec.Meta(ge=1 << 16, le=1 << 28)] = 2 << 20

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """Attach; leaving detaches. Raises KernelError."""
        with Object.open(OBJECT) as object:
            has_group = vmlinux.arguments("sched_process_exit") != 1
            object.autoload("process_exit", has_group)
            object.autoload("process_exit_live", not has_group)
            offset = Offset(cx.clock).ns
            topics = wanted(Btf(object.btf), offset)
            config = {
                "topics": (1 << len(topics)) - 1,
                "generation": 1,
                "text_bytes": self.argv_bytes,
            }
            async with reading(cx, object, topics, size=self.ring_bytes, config=config) as read:
                yield read


def wanted(btf: Btf, offset: Callable[[], int]) -> list[Wanted]:
    """The topics of the object, in the order of its own enum; ``offset`` is boot → wall time."""
    exec_, exit_ = btf.dtype("process_exec"), btf.dtype("process_exit")
    return [
        Wanted(EXEC, "ring_exec", exec_, _exec_rows(exec_, offset)),
        Wanted(EXIT, "ring_exit", exit_, _exit_rows(exit_, offset)),
    ]


_INSIDE = ("boot_ns", "generation", "sample_n")  # fields of each record that are no columns


def _exec_rows(dtype: np.dtype[Any], offset: Callable[[], int]) -> Callable[[Any], Made]:
    records = Records(dtype, EXEC, {*_INSIDE, "argv", "argv_kept", "file", "file_kept"})

    def make(rows: Any) -> Made:
        numbers = records.numbers(rows)
        columns, replaced = records.columns(rows, numbers)
        kept = numbers["argv_kept"]
        lengths = kept - ((kept == numbers["argv_bytes"]) & (kept > 0))  # without the last NUL
        argv, file = strings(rows["argv"], lengths), names(rows["file"], numbers["file_kept"])
        columns["argv"], columns["file"] = argv.column, file.column
        columns["time_ns"] = _wall(numbers, offset)
        return Made(columns, replaced + argv.replaced + file.replaced)

    return make


def _exit_rows(dtype: np.dtype[Any], offset: Callable[[], int]) -> Callable[[Any], Made]:
    records = Records(dtype, EXIT, {*_INSIDE, "peak_rss_pages"})

    def make(rows: Any) -> Made:
        numbers = records.numbers(rows)
        columns, replaced = records.columns(rows, numbers)
        columns["time_ns"] = _wall(numbers, offset)
        columns["lifetime_ns"] = numbers["boot_ns"] - numbers["start_ns"]
        columns["peak_rss"] = numbers["peak_rss_pages"] * np.uint64(mmap.PAGESIZE)
        return Made(columns, replaced)

    return make


def _wall(rows: Any, offset: Callable[[], int]) -> Any:
    return rows["boot_ns"].view(np.int64) + offset()
