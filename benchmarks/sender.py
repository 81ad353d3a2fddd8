"""``python -m benchmarks.sender HOST URL COMPRESSION BATCHES``: rings → engine → OTLP, measured.

Prints {"rows": …, "cpu_s": …}: CPU time of the process and its threads for BATCHES batches,
which follow ``WARM_UP`` others, and for the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import cast

import uvloop

from benchmarks.line import RESOURCE, ROWS, rings
from benchmarks.rings import Filled
from tapio.engine.run import Engine
from tapio.enrich.cgroup import Cgroup
from tapio.model.errors import EndOfStream
from tapio.model.policy import Bounds, Settings
from tapio.model.stage import Context, Delivery, Read, Source
from tapio.model.ticket import Ticket
from tapio.pipeline import Pipeline
from tapio.sample.adaptive import Adaptive
from tapio.sinks.otlp import Otlp
from tapio.sinks.otlp_target import Compression

WARM_UP = 20
"""Batches before the measured ones: imports, connections and heaps are there by then."""


class Rings(Source, frozen=True, tag="rings"):
    """The records of ``filled``, over and over, ``batches`` times ``ROWS`` of them.

    ``started`` gets the CPU time at which the warm-up was over.
    """

    filled: tuple[Filled, ...]
    batches: int
    started: list[float]

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """Begin with the first ring."""
        turns, left = cycle(self.filled), WARM_UP + self.batches
        ring = next(turns)
        ring.rewind()

        async def read() -> Delivery:
            nonlocal left, ring
            while (batch := ring.topic.take(cx)) is None:
                left -= 1
                if left == self.batches:
                    self.started.append(time.process_time())
                if left == 0:
                    raise EndOfStream
                ring = next(turns)
                ring.rewind()
            return Delivery(batch, Ticket())

        yield read


def main(root: str, url: str, compression: Compression, batches: int) -> None:
    """Send ``batches`` batches of ``ROWS`` rows of the host at ``root``; say what they took."""
    started: list[float] = []
    pipeline = (
        Pipeline("bench")
        .source(Rings(tuple(rings(Path(root), "process.exit")), batches, started))
        .enrich(Cgroup())
        .sample(Adaptive(target_per_s=1e9, seed=1))
        .sink(_sink(url, compression))
        .settings(Settings(host_root=root, state_dir=root, resource=RESOURCE))
    )
    engine = Engine(pipeline.plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(engine.run())
    spent = time.process_time() - started[0]
    said = engine.status()["sinks"]["otlp"]["sources"]["rings"]
    print(json.dumps({"rows": said["delivered"], "cpu_s": spent}))


def _sink(url: str, compression: Compression) -> Otlp:
    """Batches of exactly ``ROWS``, one after another, so that bodies can be compared by number.

    The source is quicker than the wire: a short channel, so that little lies between them.
    """
    return Otlp(
        url,
        compression=compression,
        max_rows=ROWS,
        max_bytes=1 << 30,
        max_age_s=60,
        on_full="block",
        channel=Bounds(rows=2 * ROWS),
        concurrency=1,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], cast(Compression, sys.argv[3]), int(sys.argv[4]))
