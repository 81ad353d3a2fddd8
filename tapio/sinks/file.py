"""Arrow streams in a folder, one open file a topic: the sink that needs nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, ClassVar, Literal

import msgspec

from tapio.home import expanded
from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.policy import Positive, Seconds
from tapio.model.stage import Context, Sink, Write
from tapio.sinks.folder import Folder, Rules

TICK_S = 1.0
"""How often a file's age is looked at."""


class Bulk(Sink, frozen=True, kw_only=True):
    """A sink's defaults where a batch costs about 1 KiB beside its rows.

    Where rows may be late, ``max_age_s: 1`` saves most of that on a quiet node; the default
    keeps the agent's promise of 250 ms from the kernel to the sink.
    """

    max_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = MAX_ROWS


class File(Bulk, frozen=True, tag="file"):
    """Writes each topic to ``path/TOPIC-START-N.arrows``, an Arrow IPC stream.

    ``path`` is a folder, made where it is missing, relative to the working directory; one
    pipeline writes to it at a time. A file is called ``.part`` until it is closed: at
    ``rotate_bytes``, after ``rotate_s``, or at the end. Of the closed files the newest
    ``keep_bytes`` are kept: older ones are removed, and each removal is logged.

    A batch has left the process when ``Write`` returns, so a crash of Tapio loses nothing
    that was delivered. ``sync`` says when the disk is waited for as well: ``none``, when a
    file is closed, or at each ``batch``, which survives a power loss and costs a disk's
    latency a batch. A full disk holds the rows back (Retryable); a file that is there is
    whole at any time.
    """

    durability: ClassVar[str] = "process-crash-safe"

    path: Annotated[str, msgspec.Meta(min_length=1)]
    rotate_bytes: Positive = 64 << 20
    rotate_s: Seconds = 3600.0
    keep_bytes: Positive = 1 << 30
    sync: Literal["none", "close", "batch"] = "close"

    def open(self, cx: Context) -> AbstractAsyncContextManager[Write]:
        """Claim the folder; ConfigError where it cannot be written or another has it."""
        sync = self.sync
        rules = Rules(
            self.rotate_bytes, self.rotate_s, self.keep_bytes, sync != "none", sync == "batch"
        )
        path = expanded(self.path, path="path").absolute()
        return _opened(Folder(path, rules, cx.clock, cx.logger))


@asynccontextmanager
async def _opened(folder: Folder) -> AsyncIterator[Write]:
    """All file work is done by one thread, in order; a cancelled Write is finished there."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "tapio-file") as thread:
        await loop.run_in_executor(thread, folder.open)

        async def write(batch: Batch) -> None:
            await loop.run_in_executor(thread, folder.write, batch)

        ticking = Ticking(loop, lambda: thread.submit(folder.tick))
        try:
            yield write
        finally:
            ticking.stop()
            await asyncio.wait([loop.run_in_executor(thread, folder.close)])


class Ticking:
    """Calls ``tick`` every TICK_S, until stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tick: Callable[[], object]) -> None:
        self._loop = loop
        self._tick = tick
        self._next = loop.call_later(TICK_S, self._run)

    def _run(self) -> None:
        self._tick()
        self._next = self._loop.call_later(TICK_S, self._run)

    def stop(self) -> None:
        """No more calls."""
        self._next.cancel()
