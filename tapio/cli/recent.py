"""The last rows, for the display: a sink of the command's own, and what it remembers."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, NamedTuple

import numpy as np

from tapio.cli.figures import TERMINAL
from tapio.cli.rows import described
from tapio.model.batch import Batch
from tapio.model.schema import WARN
from tapio.model.stage import Context, Sink, Write

KEEP = 64
"""Rows of each kind: more than a terminal has lines for."""

A_BATCH = 8
"""Rows of one batch that are put into words: a flood must not cost more than a trickle."""


class Event(NamedTuple):
    """One row in words."""

    time_ns: int
    severity: int
    topic: str
    text: str

    @property
    def clock(self) -> str:
        """The local time of day."""
        return time.strftime("%H:%M:%S", time.localtime(self.time_ns // 10**9))


class Board:
    """What the display shows besides figures: rows by topic, and the last of them in words."""

    def __init__(self) -> None:
        self.topics: Counter[str] = Counter()
        self.important: deque[Event] = deque(maxlen=KEEP)
        self.last: deque[Event] = deque(maxlen=KEEP)
        self.noticed = 0
        """Rows of severity warn or above since the start."""
        self.kernel_lost = 0
        """Rows that found the kernel's rings full."""

    def take(self, batch: Batch) -> None:
        """Remember the end of ``batch``."""
        self.topics[batch.topic] += batch.rows
        important = np.flatnonzero(batch["severity"] >= WARN)
        self.noticed += len(important)
        self.important += _events(batch, important[-A_BATCH:])
        self.last += _events(batch, np.arange(batch.rows)[-A_BATCH:])


def _events(batch: Batch, index: np.ndarray[tuple[int], np.dtype[np.intp]]) -> list[Event]:
    part = batch.take(index)
    times, severities = part["time_ns"].tolist(), part["severity"].tolist()
    texts = described(part)
    return [Event(t, s, batch.topic, x) for t, s, x in zip(times, severities, texts, strict=True)]


class Terminal(Sink, frozen=True, tag=TERMINAL):
    """Lets the display see each row; never a reason for another sink to wait."""

    durability: ClassVar[str] = "best-effort"

    board: Board

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Write]:
        """Nothing to open."""

        async def write(batch: Batch) -> None:
            self.board.take(batch)

        yield write
