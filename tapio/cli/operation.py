"""One run of one plan, with what the command puts around it: display, endpoints, metrics."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tapio.cli import ledger, meters, serve, terminal
from tapio.cli.figures import TERMINAL, totals
from tapio.cli.meters import Meters
from tapio.cli.recent import Board, Terminal
from tapio.cli.report import Display, Lines, closing, report
from tapio.cli.signals import Signals
from tapio.cli.watch import Watch
from tapio.engine import setting
from tapio.engine.run import Engine
from tapio.model.batch import MAX_ROWS
from tapio.model.errors import TapioError
from tapio.model.plan import Plan, tag

BEHIND_S = 0.5
"""The endpoints come this much later: what they import must not delay the first row."""

WATCH_S = 2.0
"""Between two looks at what the logs and pushed metrics tell of: each takes 5 ms."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks of a run."""

    where: serve.Address | None = None
    duration: float | None = None
    quiet: bool = False
    live: bool = True


class Operation:
    """Runs ``plan`` once, in the loop that awaits ``run``."""

    def __init__(self, plan: Plan, wishes: Wishes, logger: logging.Logger) -> None:
        self.opened = False
        """Whether the sources were ever attached."""
        self._wishes = wishes
        self._logger = logger
        self._board = Board()
        self._rows = _rows_on(plan)
        self._out = sys.stderr if "stdout" in self._rows else sys.stdout  # rows stay alone
        self._plan = plan if wishes.quiet else _watched(plan, self._board)
        self._stop = asyncio.Event()
        self._watch = Watch(logger.getChild(plan.name))

    async def run(self, signals: Signals) -> None:
        """Run to the end, or to the stop that a signal asks for, and print the ledger.

        Raises what the engine raises.
        """
        loop = asyncio.get_running_loop()
        signals.attach(loop, self._ask)
        origin = setting.origin(Path(self._plan.settings.host_root))
        metered = self._meters(setting.resource(self._plan, origin))
        meter = metered.meter if metered else None
        engine = Engine(self._plan, meter=meter, logger=self._logger, origin=origin)
        if metered:
            metered.observe(engine.status())
        display = self._display(signals)
        try:
            await self._beside(engine, self._jobs(engine, metered, display))
        finally:
            if display:
                display.close()
            signals.drawing = False
            self.opened = engine.heartbeat > 0  # the engine ticks once all is open
            self._conclude(engine)
            if metered:
                metered.board = engine.status()
                await asyncio.to_thread(metered.close)

    async def _beside(self, engine: Engine, jobs: list[Coroutine[Any, Any, None]]) -> None:
        """Run ``engine``, and ``jobs`` beside it for as long."""
        failure: TapioError | None = None
        async with asyncio.TaskGroup() as beside:
            tasks = [beside.create_task(job) for job in jobs]
            try:
                await engine.run(self._stop)
            except TapioError as error:
                failure = error
            for task in tasks:
                task.cancel()
        if failure is not None:
            raise failure

    def _jobs(
        self, engine: Engine, metered: Meters | None, display: Display | None
    ) -> list[Coroutine[Any, Any, None]]:
        jobs: list[Coroutine[Any, Any, None]] = [self._look(engine, metered)]
        if self._wishes.duration is not None:
            jobs.append(self._end(engine, self._wishes.duration))
        if display is not None:
            jobs.append(self._report(display, engine))
        if metered is not None and self._wishes.where is not None:
            jobs.append(_listen(self._wishes.where, engine, metered, self._logger))
        return jobs

    async def _end(self, engine: Engine, seconds: float) -> None:
        """Ask for a stop ``seconds`` after all was opened."""
        while not engine.heartbeat:  # noqa: ASYNC110 - it has no event, and comes once
            await asyncio.sleep(0.01)
        await asyncio.sleep(seconds)
        self._stop.set()

    async def _look(self, engine: Engine, metered: Meters | None) -> None:
        """Let the logs tell of trouble, and keep what others read fresh."""
        while True:
            await asyncio.sleep(WATCH_S)
            status = engine.status()
            if metered is not None:
                metered.board = status
                self._board.kernel_lost = metered.kernel_lost()
            self._watch.look(status, self._board.kernel_lost)

    async def _report(self, display: Display, engine: Engine) -> None:
        """Show the run. Who closes the pipe or the terminal that it talks to has ended it."""
        talks = self._out is sys.stdout
        await report(display, engine.status)
        terminal.silence(self._out)
        if talks:
            self._stop.set()

    def _meters(self, resource: dict[str, str]) -> Meters | None:
        if self._wishes.where is None and self._wishes.quiet and not meters.pushed():
            return None
        return Meters(resource, push=meters.pushed())

    def _display(self, signals: Signals) -> Display | None:
        """The live table on a terminal that can be drawn on, else lines; None if quiet."""
        if self._wishes.quiet:
            return None
        if not self._wishes.live or self._rows or not terminal.interactive(self._out):
            return Lines(self._out, self._board)
        from tapio.cli.live import Picture

        signals.drawing = True
        return Picture(self._board)

    def _ask(self) -> None:
        """A first signal came."""
        if not self._stop.is_set():
            drain_s = self._plan.settings.drain_s
            said = "stopping: draining for at most %g s; a second signal ends at once"
            self._logger.info(said, drain_s)
            self._stop.set()

    def _conclude(self, engine: Engine) -> None:
        """Print the ledger; of a quiet run, or one that never began, only what does not balance."""
        status = engine.status()
        self._watch.look(status, self._board.kernel_lost)
        if status["imbalance"]:
            said = "the ledger does not balance by %d rows: this is a bug, please report it"
            self._logger.error(said, status["imbalance"])
        if not self._wishes.quiet and (self.opened or totals(status).taken):
            closing(self._out, ledger.page(status, max(40, terminal.width())))


async def _listen(
    where: serve.Address, engine: Engine, metered: Meters, logger: logging.Logger
) -> None:
    """Serve the endpoints until cancelled."""
    await asyncio.sleep(BEHIND_S)

    def page(accept: str) -> tuple[str, bytes]:
        metered.board = engine.status()
        return metered.page(accept)

    endpoints = serve.Endpoints(engine.status, lambda: engine.ready, lambda: engine.heartbeat, page)
    async with serve.serve(where, endpoints, logger) as bound:
        if bound is not None:
            logger.info("listening at %s", bound)
        await asyncio.Event().wait()


def _watched(plan: Plan, board: Board) -> Plan:
    """``plan`` with a sink for the display."""
    sink = Terminal(board, name=TERMINAL, on_full="drop_oldest", max_rows=MAX_ROWS, max_age_s=0.25)
    return replace(plan, sinks=(*plan.sinks, sink))


def _rows_on(plan: Plan) -> set[str]:
    """The standard streams that rows are written to."""
    return {getattr(sink, "stream", "stdout") for sink in plan.sinks if tag(sink) == "console"}
