"""Runs a world through the very engine on a virtual clock, to its end, and once more if killed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

import msgspec

from tapio.engine.cells import FAULTS_IN_A_ROW, StageFailure
from tapio.engine.run import Engine
from tapio.model.origin import Origin
from tapio.model.plan import Plan
from tapio.model.ticket import Outcome
from tapio.testing import Stuck, VirtualClock, VirtualLoop
from tests.sim.draw import Ends
from tests.sim.stages import Failed
from tests.sim.watch import observe
from tests.sim.world import World

LIMIT_S = 600.0
SMALL_S = 0.001
"""What a stop may take beyond its time: on a virtual clock nothing takes any by itself."""
LOOKS = 0.02
"""The share of the loop's turns between which the engine is looked at."""

QUIET = logging.getLogger("tapio.sim")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False


NOWHERE = "/nonexistent/tapio"
"""No stage of a world keeps state, so that nothing is written."""


class Killed(BaseException):
    """The process is no more."""


class Watched(VirtualLoop):
    """A virtual loop that is looked at, and killed, between two turns."""

    turn = 0
    between: Callable[[], None] | None = None

    def select(self, timeout: float | None) -> list[Any]:
        """A turn begins."""
        self.turn += 1
        if self.between is not None:
            self.between()
        return super().select(timeout)

    def bury(self) -> None:
        """End the tasks of a process that was killed, or given up."""
        self.between = None
        self.set_exception_handler(lambda loop, context: None)
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            self.limit_s += LIMIT_S
            with suppress(Stuck):  # what broke the rule may go on breaking it
                self.run_until_complete(asyncio.wait(tasks))


def simulate(seed: int) -> None:
    """Live through the world of ``seed``; raises Broken where a rule is."""
    loop = Watched(LIMIT_S)
    life = Life(seed, loop)
    try:
        life.live()
    finally:
        life.world.books.closed = True
        try:
            loop.bury()
        finally:
            loop.close()


class Life:
    """A world, the engine that runs it now, and how that ended."""

    def __init__(self, seed: int, loop: Watched) -> None:
        self.seed = seed
        self.loop = loop
        self.engine: Engine | None = None
        self.main: asyncio.Task[None] | None = None
        self.error: BaseException | None = None
        self.world = World(seed, loop.time, self._pressed)
        self.books = self.world.books
        self.random = Random(~seed)
        self.kill = self.world.ends.kill
        self.cancelled = False
        self.begun_at = 0.0
        self.swept = False
        """Whether what was left at the end has been given back."""

    def live(self) -> None:
        """One life; where it is to be killed, a second one, without faults and to the end."""
        again = bool(self.kill)
        self._run(self.world.plan, self.world.ends)
        if again:
            self.loop.bury()
            self.world.reborn()
            self.kill, self.error, self.cancelled = "", None, False
            self._run(_patient(self.world.plan), Ends(None, None, "", 0))
            self._all_acknowledged()

    def _run(self, plan: Plan, ends: Ends) -> None:
        """Run an engine until it ends or is killed."""
        settings = msgspec.structs.replace(plan.settings, state_dir=NOWHERE)
        self.begun_at = self.loop.time()
        self.engine = Engine(
            replace(plan, settings=settings),
            clock=VirtualClock(self.loop),
            logger=QUIET,
            origin=Origin("node", "boot", f"{self.seed}-{self.books.life}"),
            bury=self.world.bury,
            random=Random(self.seed),
        )
        sweep = self.engine._flow.sweep
        self.swept = False

        def watched(why: str) -> None:
            self._look()
            sweep(why)
            self.swept = True

        self.engine._flow.sweep = watched  # type: ignore[method-assign]
        self.loop.set_exception_handler(self._unheard)
        self.loop.between = self._between
        try:
            self.loop.run_until_complete(self._main(self.engine, ends))
        except Killed:
            self.books.closed = True
            return
        except Stuck as stuck:
            self.books.fault("rule 20: a run ends", str(stuck))
        self._stop_if_broken()
        self._end(plan)

    async def _main(self, engine: Engine, ends: Ends) -> None:
        """Run the engine, stopped as it is to be."""
        stop = asyncio.Event()
        times = [at for at in (ends.stop_s, ends.again_s) if at is not None]
        timers = [self.loop.call_later(at, self._stop, stop) for at in times if at > 0]
        if 0.0 in times:
            self._stop(stop)
        self.main = self.loop.create_task(engine.run(stop))
        try:
            await self.main
        except BaseException as error:  # how it ended is judged below
            self.error = error
        finally:
            for timer in timers:
                timer.cancel()

    def _stop(self, stop: asyncio.Event) -> None:
        self.books.stop()
        stop.set()

    def _unheard(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.books.fault("nothing fails unheard", f"{context['message']}: {error!r}")

    def _pressed(self) -> bool:
        return self.engine is not None and self.engine._memory.soft

    def _between(self) -> None:
        """Between two turns of the loop: look, or kill."""
        self._stop_if_broken()
        engine = self.engine
        if engine is None or engine.state in ("opening", "stopped"):
            return
        if self.random.random() < LOOKS:
            self._look()
            self._stop_if_broken()
        if self.kill and self.loop.turn >= self.world.ends.kill_turn:
            self._kill()

    def _kill(self) -> None:
        kill, self.kill = self.kill, ""
        self._look()
        self._stop_if_broken()
        if kill == "sigkill":
            raise Killed
        assert self.main is not None
        self.cancelled = self.main.cancel()

    def _look(self) -> None:
        assert self.engine is not None
        observe(self.world, self.engine, ended=self.swept)

    def _stop_if_broken(self) -> None:
        if self.books.broken:
            raise self.books.broken[0]

    def _end(self, plan: Plan) -> None:
        """What must hold when the run is over."""
        assert self.engine is not None
        self._check_error()
        self._check_time(plan)
        observe(self.world, self.engine, ended=True)
        self._check_tickets()
        self._check_nothing_left()
        json.dumps(self.engine.status())
        self._stop_if_broken()

    def _check_error(self) -> None:
        """Rule 21: a run ends by an error where it has to, and only there."""
        worst = [p.mood.worst for p in self.world.parts] + [d.worst for d in self.world.drains]
        failed = max(worst, default=0) >= FAULTS_IN_A_ROW
        broke = any(s.broke for s in self.world.springs)
        unheard = any(s.failed for s in self.world.springs)
        for error in _each(self.error):
            expected = (
                (isinstance(error, StageFailure) and failed)
                or (isinstance(error, Failed) and broke)
                or (isinstance(error, LookupError) and unheard)
                or (isinstance(error, asyncio.CancelledError) and self.cancelled)
            )
            if not expected:
                self.books.fault("rule 21", f"the run ended by {error!r}")
        must = broke or unheard or (failed and not self._cut_off())
        if self.error is None and must:
            self.books.fault("rule 21", "the run did not end by the error of a stage or source")

    def _check_time(self, plan: Plan) -> None:
        """Rule 20: a stop takes drain_s at most; after the last row, the last answer counts."""
        now, drain_s = self.loop.time(), plan.settings.drain_s
        progress = [d.last_answer for d in self.world.drains]
        ended = max(s.ended_at for s in self.world.springs)
        last = max([*progress, ended, self.world.buried_at, self.begun_at])
        begun = self.books.stopped_at if self.books.stopped_at <= now else last
        latest = begun + drain_s
        if now > latest + SMALL_S:
            self.books.fault("rule 20: drain_s", f"it took {now - latest:.3f} s longer")

    def _cut_off(self) -> bool:
        """Whether rows were still on their way, as where a deadline ended the run."""
        assert self.engine is not None
        return any(h.outcome is not Outcome.DONE for h in self.books.of_this_life())

    def _check_tickets(self) -> None:
        """Rules 8 and 9: each ticket was settled, and RETRY only where rows were left."""
        for handed in self.books.of_this_life():
            if handed.outcome is None:
                self.books.fault("rule 8: settled once", "a ticket was never settled")
        outcomes = {h.outcome for h in self.books.of_this_life()}
        if Outcome.RETRY in outcomes and not self.books.left():
            self.books.fault("rule 8", "RETRY, and no row was left")

    def _check_nothing_left(self) -> None:
        """No task, no timer; all is closed."""
        if tasks := asyncio.all_tasks(self.loop):
            self.books.fault("no task is left", str(tasks))
        timers = [h for h in self.loop._scheduled if not h.cancelled()]  # type: ignore[attr-defined]
        if timers:
            self.books.fault("no timer is left", str(timers))
        if any(end.opened for end in (*self.world.springs, *self.world.drains)):
            self.books.fault("rule 20", "a source or a sink was not closed")

    def _all_acknowledged(self) -> None:
        """Rules 9 and 17: over both lives each row of a replayable source was answered for."""
        for handed in self.books.handed:
            replayable = self.books.replays[handed.uids].all()
            if replayable and handed.outcome is not Outcome.DONE and not handed.replayed:
                self.books.fault("rule 9", "rows were neither acknowledged nor given again")
        self._stop_if_broken()


def _patient(plan: Plan) -> Plan:
    """The same plan with all the time in the world."""
    return replace(plan, settings=msgspec.structs.replace(plan.settings, drain_s=60.0))


def _each(error: BaseException | None) -> list[BaseException]:
    """The errors in ``error``."""
    if isinstance(error, BaseExceptionGroup):
        return [inner for e in error.exceptions for inner in _each(e)]
    return [] if error is None else [error]
