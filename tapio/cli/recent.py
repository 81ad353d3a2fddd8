"""The last rows, for the display: a sink of the command's own, and what it remembers."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Hashable, Iterator, Reversible
from contextlib import asynccontextmanager
from typing import ClassVar, NamedTuple

import numpy as np

from tapio.cli.figures import TERMINAL
from tapio.cli.rows import described
from tapio.model.batch import Batch
from tapio.model.schema import WARN
from tapio.model.stage import Context, Sink, Write

KEEP = 64
"""Batches of each kind that are remembered in part: their rows fill any terminal."""

A_BATCH = 8
"""Rows of one batch that are remembered: a flood must not cost more than a trickle."""


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
    """What the display shows besides figures: rows by topic, and the last of them in words.

    Rows are put into words when they are shown: that costs 3 ms a kind.
    """

    def __init__(self) -> None:
        self.topics: Counter[str] = Counter()
        self.noticed = 0
        """Rows of severity warn or above since the start."""
        self.kernel_lost = 0
        """Rows that found the kernel's rings full."""
        self._important: deque[Batch] = deque(maxlen=KEEP)
        self._last: deque[Batch] = deque(maxlen=KEEP)

    def take(self, batch: Batch) -> None:
        """Remember the end of ``batch``."""
        self.topics[batch.topic] += batch.rows
        important = np.flatnonzero(batch["severity"] >= WARN)
        self.noticed += len(important)
        if len(important):
            self._important.append(batch.take(important[-A_BATCH:]))
        self._last.append(batch.take(np.arange(batch.rows)[-A_BATCH:]))

    def important(self, most: int) -> list[Event]:
        """The last rows of severity warn or above, at most so many, the newest at the end."""
        return _events(self._important, most)

    def last(self, most: int) -> list[Event]:
        """The last rows of any severity."""
        return _events(self._last, most)


def _events(batches: Reversible[Batch], most: int) -> list[Event]:
    """The last ``most`` rows, in the order in which they came."""
    picked: deque[Batch] = deque()
    for batch in reversed(batches):
        if sum(b.rows for b in picked) >= most:
            break
        picked.appendleft(batch)
    alike: defaultdict[Hashable, list[Batch]] = defaultdict(list)
    for batch in picked:
        alike[_kind(batch)].append(batch)
    words = {kind: iter(described(Batch.concat(same))) for kind, same in alike.items()}
    found = [event for batch in picked for event in _told(batch, words[_kind(batch)])]
    return found[-most:] if most > 0 else []


def _kind(batch: Batch) -> Hashable:
    """What is alike in batches that can be put into words together."""
    return batch.schema, id(batch.entities)


def _told(batch: Batch, words: Iterator[str]) -> Iterator[Event]:
    times, severities = batch["time_ns"].tolist(), batch["severity"].tolist()
    for time_ns, severity in zip(times, severities, strict=True):
        yield Event(time_ns, severity, batch.topic, next(words))


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
