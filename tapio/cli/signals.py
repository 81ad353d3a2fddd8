"""Signals of a run: the first asks for a stop, the second ends at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Self

from tapio.cli.boundary import INTERRUPTED

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

CURSOR = b"\x1b[?25h\n"
"""Shows the cursor again, which a live table hides (DECTCEM)."""


class Signals:
    """Handles SIGINT, SIGTERM and SIGHUP while it is entered; ``attach`` says who is asked.

    Handlers of ``signal``, not of the loop: the second signal must end a process whose loop
    hangs. A signal that the caller of the process has ignored (nohup) stays ignored.
    """

    def __init__(self) -> None:
        self.drawing = False
        """Whether stdout is being drawn on, and must be put right at a sudden end."""
        self._asked = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], None] = lambda: None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in ASKED:
            if number is signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]  # what signal() gave

    def attach(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
        """Call ``stop`` in ``loop`` at the first signal; now, if it has come already."""
        self._loop, self._stop = loop, stop
        if self._asked:
            loop.call_soon_threadsafe(stop)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1
        if self._asked > 1:
            self._end()
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop)

    def _end(self) -> None:
        """Leave without a look back; what a buffer still holds is lost, as is said."""
        with contextlib.suppress(OSError):
            if self.drawing:
                os.write(1, CURSOR)
            os.write(2, b"tapio: ended at once, without a drain\n")
        os._exit(INTERRUPTED)
