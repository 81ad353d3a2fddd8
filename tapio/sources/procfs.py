"""What /proc tells anybody: processes that begin and end, TCP counters, pressure."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, ClassVar

import msgspec
import numpy as np
from opentelemetry.metrics import CallbackOptions, Observation

from tapio.kernel.boot import Offset
from tapio.model.batch import Batch
from tapio.model.errors import ConfigError, DecodeError, EndOfStream
from tapio.model.policy import Seconds
from tapio.model.schema import SEQ, Schema
from tapio.model.stage import Context, Delivery, Read, Source
from tapio.model.ticket import Ticket
from tapio.sources.figures import PRESSURE, TCP, Moment, Pressure, Tcp
from tapio.sources.processes import END, START, Processes


class Procfs(Source, frozen=True, tag="procfs"):
    """Looks at /proc below ``host_root`` every ``interval_s``. Needs no privilege.

    Topics: ``process.start`` and ``process.end``, ``tcp.counters`` (of pid 1's network
    namespace), ``pressure.stall`` (where the kernel has PSI); each can be switched off.

    It is less than the ``process`` source knows, and so it does not call its rows exec and
    exit. A process that begins and ends between two looks is missed. One that was forked is
    seen, whether it runs a program of its own or not; a later exec is not seen. Name,
    command line, user and cgroup are those of the first look. How a process ended is not
    known, and when only to an interval. Columns of the same name mean the same in both.
    """

    schemas: ClassVar[tuple[Schema, ...]] = (START, END, TCP, PRESSURE)

    interval_s: Seconds = 1.0
    processes: bool = True
    tcp: bool = True
    pressure: bool = True
    argv_bytes: Annotated[int, msgspec.Meta(ge=0, le=4096)] = 512

    def open(self, cx: Context) -> AbstractAsyncContextManager[Read]:
        """Look once, to know what is there; ConfigError where there is no /proc."""
        return _opened(self, cx)


@asynccontextmanager
async def _opened(spec: Procfs, cx: Context) -> AsyncIterator[Read]:
    """One thread reads the files: with thousands of new processes that takes a while."""
    with ThreadPoolExecutor(1, "tapio-procfs") as thread:
        watch = Watch(spec, cx, thread)
        await asyncio.get_running_loop().run_in_executor(thread, watch.learn)
        yield watch.read


class Watch:
    """Looks at an interval, and once more when a stop is asked for."""

    def __init__(self, spec: Procfs, cx: Context, thread: ThreadPoolExecutor) -> None:
        self._spec = spec
        self._cx = cx
        self._thread = thread
        self._processes = Processes(cx.host_root, spec.argv_bytes) if spec.processes else None
        self._offset = Offset(cx.clock)
        self._figures: dict[str, Callable[[Moment], Batch | None]] = {}
        if spec.tcp:
            self._figures["TCP counters"] = Tcp(cx.host_root).look
        if spec.pressure:
            self._figures["pressure"] = Pressure(cx.host_root).look
        self._silent: set[str] = set()
        self._due = cx.clock.monotonic() + spec.interval_s
        self._looking: asyncio.Future[list[Batch]] | None = None
        self._ready: deque[Batch] = deque()
        self._last = False
        self._count()

    def learn(self) -> None:
        """Take what is there already as known."""
        try:
            if self._processes is not None:
                self._processes.look()
            self._figures_now(self._now())
        except OSError as error:
            proc = self._cx.host_root / "proc"
            reason = f"there is no process table in {proc}: {error.strerror}"
            raise ConfigError(
                f"{reason}; mount the host's /proc there", path="host_root"
            ) from error

    async def read(self) -> Delivery:
        """The next batch. Cancelled in a look, it is what the next read brings."""
        while not self._ready:
            if self._looking is None:
                if self._last:
                    raise EndOfStream
                await self._until_due()
                self._last = self._cx.stopping.is_set()
                loop = asyncio.get_running_loop()
                self._looking = loop.run_in_executor(self._thread, self._look)
            await asyncio.wait([self._looking])
            looked, self._looking = self._looking, None
            self._ready.extend(looked.result())
        return Delivery(self._numbered(self._ready.popleft()), Ticket())

    async def _until_due(self) -> None:
        """Wait for the next look, or for a stop. Looks that were not asked for are left out."""
        now = self._cx.clock.monotonic()
        if now < self._due:
            try:
                async with asyncio.timeout(self._due - now):
                    await self._cx.stopping.wait()
            except TimeoutError:
                pass
        late = self._cx.clock.monotonic() - self._spec.interval_s
        self._due = max(self._due, late) + self._spec.interval_s

    def _now(self) -> Moment:
        return Moment(self._cx.clock.time_ns(), int(self._cx.clock.monotonic() * 1e9))

    def _look(self) -> list[Batch]:
        """All rows of a look; in the thread."""
        now = self._now()
        return [*self._processes_now(now), *self._figures_now(now)]

    def _processes_now(self, now: Moment) -> list[Batch]:
        if self._processes is None:
            return []
        try:
            change = self._processes.look()
        except OSError as error:
            self._missing("processes", error)
            return []
        started = self._processes.started(change.begun, self._offset.ns())
        return [*started, *self._processes.gone(change.ended, now.wall_ns)]

    def _figures_now(self, now: Moment) -> list[Batch]:
        batches = []
        for name, look in self._figures.items():
            try:
                batch = look(now)
            except (OSError, DecodeError) as error:
                self._missing(name, error)
            else:
                batches += [batch] if batch is not None else []
        return batches

    def _missing(self, name: str, error: Exception) -> None:
        """Say once what there is not."""
        if name not in self._silent:
            self._silent.add(name)
            self._cx.logger.warning("no %s: %s", name, error)

    def _numbered(self, batch: Batch) -> Batch:
        first = self._cx.sequences.take(batch.topic, batch.rows)
        return batch.with_columns({SEQ: np.arange(first, first + batch.rows, dtype=np.uint64)})

    def _count(self) -> None:
        """Have the meter ask what could not be told as it is."""
        if self._processes is None:
            return
        tally = self._processes.tally
        labels = {"pipeline": self._cx.pipeline, "source": self._cx.stage}
        for name, unit, doc, read in (
            (
                "missed",
                "{process}",
                "Processes gone before they could be read.",
                lambda: tally.missed,
            ),
            ("replaced", "{text}", "Texts with invalid UTF-8.", lambda: tally.replaced),
        ):
            self._cx.meter.create_observable_counter(
                f"tapio_procfs_{name}", [_observed(read, labels)], unit, doc
            )


def _observed(
    read: Callable[[], int], labels: dict[str, str]
) -> Callable[[CallbackOptions], list[Observation]]:
    return lambda _: [Observation(read(), labels)]
