"""A Context made by hand, for stages that need little of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from opentelemetry.metrics import NoOpMeter

from tapio.model.origin import Origin, Sequences
from tapio.model.stage import Context


class Still:
    """A clock that stands: stages are told the time."""

    def time_ns(self) -> int:
        """The same at each call."""
        return 0

    def monotonic(self) -> float:
        """The same at each call."""
        return 0.0


def context(
    pressure: Callable[[], float] = lambda: 0.0, epoch: str = "0" * 16, stage: str = "stage"
) -> Context:
    """What the engine would give a stage called ``stage``."""
    return Context(
        pipeline="node",
        stage=stage,
        clock=Still(),
        stopping=asyncio.Event(),
        pressure=pressure,
        host_root=Path("/"),
        state_dir=Path("/nonexistent"),
        meter=NoOpMeter("tests"),
        logger=logging.getLogger("tests"),
        origin=Origin("node-1", "boot", epoch),
        sequences=Sequences(),
        resource={},
    )
