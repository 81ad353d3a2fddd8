"""``Engine``: runs one plan, from opening to the last settled ticket.

Rule 20 in short: a stop makes the sources finish; a read that still waits after ``stop_s`` is
cancelled; windows flush, channels drain, writers finish, tickets settle, sources close. What is
left at ``drain_s`` is swept out, and each row of it counted.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import Meter

from tapio.engine import build, setting, status
from tapio.engine.branch import Bury, Desk
from tapio.engine.cancel import Cut
from tapio.engine.cells import Instant
from tapio.engine.clock import SystemClock
from tapio.engine.deadletter import DeadLetterFolder
from tapio.engine.flow import Flow
from tapio.engine.keeper import Keeper
from tapio.engine.ledger import Ledger
from tapio.engine.limits import MemoryGauge
from tapio.engine.reader import Reader, Way
from tapio.engine.snapshots import Snapshots
from tapio.model.origin import Origin
from tapio.model.plan import Plan, labels
from tapio.model.stage import Clock


class Engine:
    """One run of one plan. Installs no signal handlers and no logging; several share a loop."""

    def __init__(
        self,
        plan: Plan,
        *,
        clock: Clock | None = None,
        meter: Meter | None = None,
        logger: logging.Logger | None = None,
        origin: Origin | None = None,
        bury: Bury | None = None,
        random: Random | None = None,
    ) -> None:
        """All but the plan have defaults; tests give a clock, dead letters and a seed."""
        self.plan = plan
        self.state = "opening"
        self.ready = False
        self._home = setting.state_dir(plan)
        self._clock = clock or SystemClock()
        self._meter = meter or metrics.get_meter("tapio")
        self._logger = (logger or logging.getLogger("tapio")).getChild(plan.name)
        self._origin = origin or setting.origin(Path(plan.settings.host_root))
        folder = DeadLetterFolder(
            plan.settings.dead_letters, self._home / "dead-letters" / plan.name
        )
        self._bury = bury or folder.bury
        self._random = random or Random()  # noqa: S311 - jitter, not a secret
        self._flow = Flow(self._bury)
        self.ledger.open(labels(plan.sources), labels(plan.sinks))
        self._memory = MemoryGauge(plan.settings.memory, self._flow.batches)
        self._stopping = asyncio.Event()
        self._readers: list[Reader] = []
        self._reading = 0
        self._sealed = 0
        self._started = self._clock.monotonic()
        self._keeper: Keeper | None = None
        self._opening = Cut()
        self._deadline = Cut()

    @property
    def ledger(self) -> Ledger:
        """Where each row went."""
        return self._flow.ledger

    @property
    def heartbeat(self) -> float:
        """Loop time of the last tick; 0 before the first."""
        return self._keeper.heartbeat if self._keeper else 0.0

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run until all sources end or ``stop`` is set, then drain.

        Raises what a stage raised on opening, StageFailure, or the ExceptionGroup of what
        broke. Cancelled or broken, it settles every open ticket RETRY first.
        """
        try:
            async with asyncio.TaskGroup() as beside:
                heed = beside.create_task(self._heed(stop or asyncio.Event()))
                try:
                    async with AsyncExitStack() as stack:
                        if not await self._opening.run(self._open(stack)):
                            await self._work()
                finally:
                    heed.cancel()
        except BaseExceptionGroup as group:
            raise _only(group) from None
        finally:
            self.ready, self.state = False, "stopped"

    def stop(self) -> None:
        """Ask for a stop: sources finish, then all is drained (rule 20)."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._finish()

    def status(self) -> dict[str, Any]:
        """All that can be known of the run; a pure read, exact between awaits."""
        said: dict[str, Any] = {
            "pipeline": self.plan.name,
            "state": self.state,
            "uptime_s": self._clock.monotonic() - self._started,
            "loop": _loop_name(),
            "memory": status.memory(self._memory),
            "pressure": self.pressure(),
            "sources": status.sources(self.ledger, self._flow.trunk()),
            "sinks": {b.label: status.sink(self.ledger, b) for b in self._flow.branches},
            "stages": status.stages(self._flow.segments),
        }
        return said | {"imbalance": status.imbalance(said)}

    def pressure(self) -> float:
        """The most of memory / soft limit and of any channel's fill."""
        memory = self._memory.bytes / self._memory.policy.soft
        return max([memory, *(channel.fill for channel in self._flow.channels())])

    async def _open(self, stack: AsyncExitStack) -> None:
        """Open sinks, steps, sources, in this order, on ``stack``."""
        context = setting.contexts(
            self.plan,
            clock=self._clock,
            stopping=self._stopping,
            pressure=self.pressure,
            meter=self._meter,
            logger=self._logger,
            origin=self._origin,
        )
        site = build.Site(self.plan, stack, context, self.ledger)
        self._flow.branches = await build.branches(site, self._desk())
        trunk = await build.trunk(site, self._flow.dispatch)
        self._flow.segments = trunk.segments
        folder = self._home / "snapshots" / self.plan.name
        snapshots = Snapshots(folder, trunk.snapshots, self._logger)
        snapshots.restore()
        inbox, failures = trunk.segments[0].inbox, self._flow.failures
        way = Way(inbox, self.ledger, self._memory, self._stopping, failures)
        self._readers = await build.readers(site, way)
        self._reading = len(self._readers)
        self._keeper = Keeper(self._flow, self._memory, snapshots)

    def _desk(self) -> Desk:
        return Desk(
            self.ledger,
            self._clock,
            self._bury,
            self._random,
            self._new_id,
            finished=self.stop,
            progress=self._progress,
        )

    async def _work(self) -> None:
        """Run all tasks to their end, or to the deadline; then sweep."""
        assert self._keeper is not None
        reason = "unreplayable"
        try:
            async with asyncio.TaskGroup() as beside:
                tick = beside.create_task(self._keeper.run())
                try:
                    if await self._deadline.run(self._main()):
                        reason = "drain_deadline"
                finally:
                    tick.cancel()
        finally:
            self._keeper.close()
            self._flow.sweep(reason)
        self._flow.check()

    async def _main(self) -> None:
        self.ready, self.state = True, "running"
        if self._stopping.is_set():  # asked for while the plan was opening
            self._finish()
        async with asyncio.TaskGroup() as work:
            for branch in self._flow.branches:
                for _ in range(branch.spec.concurrency):
                    work.create_task(branch.work())
            for segment, close in zip(self._flow.segments, self._flow.closers(), strict=True):
                work.create_task(segment.run(self._now, self._flow.burier(segment), close))
            for reader in self._readers:
                work.create_task(self._read(reader))

    async def _heed(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self.stop()

    async def _read(self, reader: Reader) -> None:
        """Run a reader; after the last one the trunk drains."""
        await reader.run()
        self._reading -= 1
        if self._reading == 0:
            self.state = "stopping"
            self._flow.segments[0].inbox.close()
            self._progress()

    def _progress(self) -> None:
        """A sink answered: at the end of a stream, the drain has its full time again.

        A stop that was asked for has a fixed deadline; the end of a long replay through a
        slow sink has not, as long as it gets on.
        """
        if self._reading == 0 and not self._stopping.is_set():
            now = asyncio.get_running_loop().time()
            self._deadline.at(now + self.plan.settings.drain_s)

    def _finish(self) -> None:
        """From now on opening, reads and drain have the time of a stop (rule 20)."""
        self.state = "stopping"
        now, settings = asyncio.get_running_loop().time(), self.plan.settings
        for cut in (self._opening, *(reader.cut for reader in self._readers)):
            cut.at(now + settings.stop_s)
        self._deadline.at(now + settings.drain_s)

    def _now(self) -> Instant:
        return Instant(self._clock.time_ns(), asyncio.get_running_loop().time())

    def _new_id(self) -> str:
        """A message id: never given twice, over any restart, for the epoch is new (rule 16)."""
        self._sealed += 1
        return f"{self._origin.node}.{self._origin.boot_id}.{self._origin.epoch}.{self._sealed}"


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception in ``group``, however deep, or the group where there are several."""
    inner: BaseException = group
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return inner


def _loop_name() -> str:
    try:
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]
    except RuntimeError:
        return "none"
