"""``Keeper``: what a run does by the clock: heartbeat, memory, snapshots."""

from __future__ import annotations

import asyncio

from tapio.engine.flow import Flow
from tapio.engine.limits import MemoryGauge
from tapio.engine.snapshots import EVERY_S, Snapshots

TICK_S = 0.05
"""A twentieth of a second: the most by which the memory account is out of date."""


class Keeper:
    """Ticks beside the work until it is cancelled; ``heartbeat`` is the loop time of the last."""

    def __init__(self, flow: Flow, memory: MemoryGauge, snapshots: Snapshots) -> None:
        self.heartbeat = 0.0
        self._flow = flow
        self._memory = memory
        self._snapshots = snapshots

    async def run(self) -> None:
        """Tick for ever."""
        loop = asyncio.get_running_loop()
        next_save = loop.time() + EVERY_S
        while True:
            self.heartbeat = loop.time()
            self._flow.check()
            self._memory.look()
            if self._memory.hard:
                self._flow.shed(self._memory.bytes - self._memory.policy.hard)
                self._memory.look()
            if self.heartbeat >= next_save:
                self._snapshots.save()
                next_save += EVERY_S
            await asyncio.sleep(TICK_S)

    def close(self) -> None:
        """Save the snapshots a last time, at drain."""
        self._snapshots.save()
