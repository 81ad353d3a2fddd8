"""Whose cancellation a CancelledError is: this task's, or one that a stage let out."""

from __future__ import annotations

import asyncio


def cancelled() -> bool:
    """Whether somebody asked the current task to end.

    A stage may raise CancelledError on its own, by waiting for a future that another one
    cancelled; and it may turn the task's cancellation into another error.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
