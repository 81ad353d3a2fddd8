"""Who ends work that waits: a time given from outside, a cancellation, or a stage by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


def cancelled() -> bool:
    """Whether somebody asked the current task to end.

    A stage may raise CancelledError on its own, by waiting for a future that another one
    cancelled; and it may turn the task's cancellation into another error.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Cut:
    """Work that is cancelled at a time which may be given, and changed, while it runs."""

    def __init__(self) -> None:
        self.when: float | None = None
        self._scope: asyncio.Timeout | None = None

    def at(self, when: float) -> None:
        """Cut the work at loop time ``when``; before it begins and after it ended too."""
        self.when = when
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(when)

    async def run(self, work: Awaitable[None]) -> bool:
        """Do ``work``; whether it was cut."""
        scope = asyncio.timeout_at(self.when)
        try:
            async with scope:
                self._scope = scope
                await work
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._scope = None
        return scope.expired()
