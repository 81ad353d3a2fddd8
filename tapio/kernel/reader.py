"""Rings → deliveries: one ``read()`` for all topics of an object.

A reader looks at the rings every 50 ms, and at once when the kernel wakes it: for a record of
severity ≥ error, or for many unread bytes. It takes a ring that is filled to its threshold, or,
when it is time to look, whatever there is; so batches stay large under load, and a row waits
50 ms at most without.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tapio.kernel.consumer import Consumer
from tapio.kernel.ring import Ring
from tapio.model.batch import Batch
from tapio.model.columns import Column
from tapio.model.errors import EndOfStream
from tapio.model.schema import Schema
from tapio.model.stage import Context, Delivery
from tapio.model.ticket import Ticket

LOOK_EVERY_S = 0.05
"""At 10,000 events/s a timer drain costs 0.26 % of a core, a woken reader 2.4 to 7.3 %."""
MOST_ROWS = 4096
"""Rows of one drain: from here on what a drain costs by itself (some 15 µs) no longer shows."""
YIELD_EVERY = 16
"""Reads without a pause after which the loop gets a turn: full rings must not starve it."""


class Made(NamedTuple):
    """The columns of a drain, all but ``seq``; in how many texts UTF-8 was replaced."""

    columns: dict[str, Column]
    replaced: int


@dataclass(slots=True)
class Topic:
    """One ring and what its rows become; counts what was taken."""

    schema: Schema
    ring: Ring | Consumer
    make: Callable[[npt.NDArray[Any]], Made]
    threshold: int
    """Unread bytes from which it is drained without waiting."""
    taken: int = field(default=0, init=False)
    malformed: int = field(default=0, init=False)
    replaced: int = field(default=0, init=False)

    def take(self, cx: Context) -> Batch | None:
        """What is in the ring, at most 4,096 rows; None if that is nothing. Never waits."""
        drain = self.ring.drain(MOST_ROWS)
        while drain.malformed and not len(drain.rows):
            self.malformed += drain.malformed
            drain = self.ring.drain(MOST_ROWS)
        self.malformed += drain.malformed
        rows = len(drain.rows)
        if not rows:
            return None
        made = self.make(drain.rows)
        self.taken += rows
        self.replaced += made.replaced
        first = cx.sequences.take(self.schema.topic, rows)
        made.columns["seq"] = np.arange(first, first + rows, dtype=np.uint64)
        return Batch(self.schema, made.columns)


class Reader:
    """The ``Read`` of an object's topics. Ends once stopping, detached and drained.

    Cancelling ``read`` loses nothing: between taking rows and handing them out it never waits.
    """

    def __init__(
        self,
        cx: Context,
        topics: Sequence[Topic],
        wakeup: asyncio.Event,
        detach: Callable[[], None],
    ) -> None:
        """``wakeup`` is set when the kernel asks; ``detach`` returns when no program runs."""
        self._cx = cx
        self._topics = deque(topics)
        self._wakeup = wakeup
        self._detach = detach
        self._finishing = False
        self._unseen = len(self._topics)  # rings to be taken whatever they hold
        self._due = 0.0
        self._turn = 0

    async def read(self) -> Delivery:
        """One batch of one topic. Raises EndOfStream, and DecodeError where a ring is none."""
        while True:
            self._turn += 1
            if self._turn % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            if self._cx.stopping.is_set() and not self._finishing:
                self._detach()
                self._finishing = True
            batch = self._next()
            if batch is not None:
                return Delivery(batch, Ticket())
            if self._finishing:
                raise EndOfStream
            await self._pause()

    def _next(self) -> Batch | None:
        """A batch of the next ring that is due; rings take turns."""
        for _ in range(len(self._topics)):
            topic = self._topics[0]
            self._topics.rotate(-1)
            if not self._is_due(topic):
                continue
            batch = topic.take(self._cx)
            if batch is not None:
                return batch
        return None

    def _is_due(self, topic: Topic) -> bool:
        if self._unseen > 0:
            self._unseen -= 1
            return True
        return self._finishing or topic.ring.unread >= topic.threshold

    async def _pause(self) -> None:
        """Until the kernel asks or it is time to look; then each ring is taken once."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._due):
                await self._wakeup.wait()
        self._wakeup.clear()
        self._due = loop.time() + LOOK_EVERY_S
        self._unseen = len(self._topics)
