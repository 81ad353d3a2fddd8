"""Rows on demand: a program in the kernel that submits them as the process observer does."""

from __future__ import annotations

import asyncio
import ctypes as c
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tapio.codec.btf import Btf
from tapio.kernel.attach import reading
from tapio.kernel.libbpf import check, library
from tapio.kernel.object import Object
from tapio.model.stage import Context, Read
from tapio.observers.process import wanted
from tests.kernel.running import HERE, compiled


class Order(c.Structure):
    """``struct order`` of producer.bpf.c."""

    _fields_ = (
        ("rows", c.c_uint64),
        ("severity", c.c_uint64),
        ("hold", c.c_uint64),
        ("made", c.c_uint64),
    )


class TestRun(c.Structure):
    """``struct bpf_test_run_opts`` of libbpf."""

    __test__ = False
    _fields_ = (
        ("sz", c.c_size_t),
        ("data_in", c.c_void_p),
        ("data_out", c.c_void_p),
        ("data_size_in", c.c_uint32),
        ("data_size_out", c.c_uint32),
        ("ctx_in", c.c_void_p),
        ("ctx_out", c.c_void_p),
        ("ctx_size_in", c.c_uint32),
        ("ctx_size_out", c.c_uint32),
        ("retval", c.c_uint32),
        ("repeat", c.c_int),
        ("duration", c.c_uint32),
        ("flags", c.c_uint32),
        ("cpu", c.c_uint32),
        ("batch_size", c.c_uint32),
    )


class Producer:
    """Submits exit rows whose pids count on from 0."""

    def __init__(self, object: Object) -> None:
        """Of a loaded producer object."""
        (handle,) = [p for p, name, _ in object.programs() if name == "produce"]
        self._fd = library().bpf_program__fd(handle)
        self.made = 0

    def __call__(self, rows: int, severity: int = 9, hold: int = 0) -> None:
        """Submit ``rows`` rows, each held busy for up to ``hold`` looks at the clock."""
        order = Order(rows, severity, hold, self.made)
        address = c.cast(c.pointer(order), c.c_void_p)
        run = TestRun(sz=c.sizeof(TestRun), ctx_in=address, ctx_size_in=c.sizeof(order))
        check(library().bpf_prog_test_run_opts(self._fd, c.byref(run)), "cannot run the producer")
        self.made += rows


class Producing(NamedTuple):
    """A reader, and what fills its rings."""

    read: Read
    produce: Producer


@asynccontextmanager
async def producing(
    cx: Context, into: Path, *, size: int = 1 << 20, **config: int
) -> AsyncIterator[Producing]:
    """The producer's exit rows, read as ``process.exit``; no hook of the machine is attached."""
    source = (HERE / "producer.bpf.c").read_text()
    with Object.open(await asyncio.to_thread(compiled, source, into)) as object:
        for program in ("process_exec", "process_exit"):
            object.autoload(program, on=False)
        topics = wanted(Btf(object.btf), lambda: 0)
        config = {"topics": 2, "generation": 7, **config}
        async with reading(cx, object, topics, size=size, config=config) as read:
            yield Producing(read, Producer(object))
