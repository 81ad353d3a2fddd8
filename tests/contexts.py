"""A Context for tests that open one stage by itself."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from opentelemetry.metrics import NoOpMeter

from tapio.engine.clock import SystemClock
from tapio.model.origin import Origin, Sequences
from tapio.model.stage import Context


def context(state_dir: Path = Path("unused"), **changes: Any) -> Context:
    """What a stage is given by default, with ``changes``."""
    plain = Context(
        pipeline="test",
        stage="stage",
        clock=SystemClock(),
        stopping=asyncio.Event(),
        pressure=lambda: 0.0,
        host_root=Path("/"),
        state_dir=state_dir,
        meter=NoOpMeter("test"),
        logger=logging.getLogger("tapio.test"),
        origin=Origin("node", "boot", "0" * 16),
        sequences=Sequences(),
        resource={},
    )
    return replace(plain, **changes)


class HandClock:
    """A Clock that goes on when it is told to."""

    def __init__(self, time_ns: int = 1_700_000_000_000_000_000) -> None:
        self.start_ns = time_ns
        self.now = 0.0

    def time_ns(self) -> int:
        """Wall clock, ns since 1970."""
        return self.start_ns + int(self.now * 1e9)

    def monotonic(self) -> float:
        """Seconds."""
        return self.now
