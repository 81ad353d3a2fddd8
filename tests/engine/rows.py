"""Small batches, parcels and stages for the tests of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from tapio.engine.parcel import Parcel, urgent
from tapio.model.batch import Batch
from tapio.model.entities import EntityTable
from tapio.model.schema import ENTITY, INFO, SEVERITY
from tapio.model.stage import Context, Step, Transform
from tapio.model.ticket import Outcome, Ticket
from tapio.testing import VirtualLoop
from tests.batches import counting

T = TypeVar("T")


def batch(rows: int, first: int = 0, severity: int | Sequence[int] = INFO) -> Batch:
    """``rows`` rows whose ``n`` counts from ``first``, all of one severity or each of its own."""
    severities = np.broadcast_to(np.array(severity, np.uint8), rows)
    return counting("test.row", rows, first).with_columns({SEVERITY: severities})


def about(batch: Batch, table: EntityTable) -> Batch:
    """``batch`` with each row about the first entity of ``table``."""
    return batch.with_columns({ENTITY: np.zeros(batch.rows, np.int32)}, table)


def numbers(batches: Iterable[Batch]) -> list[int]:
    """The ``n`` of each row, in order."""
    return [int(n) for b in batches for n in b["n"]]


class Fates(list[Outcome]):
    """How each ticket made by it was settled, in that order."""

    def ticket(self) -> Ticket:
        """A ticket whose outcome comes here."""
        return Ticket(self.append)

    def parcel(
        self, content: Batch | int, source: str = "s", *, replayable: bool = False
    ) -> Parcel:
        """A parcel of ``content``, a batch or a number of rows."""
        rows = batch(content) if isinstance(content, int) else content
        return Parcel(rows, self.ticket(), source, replayable, urgent(rows))


def virtually(main: Coroutine[Any, Any, T]) -> T:
    """What ``main`` returns, run in virtual time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(10_000.0)) as runner:
        return runner.run(main)


class Does(Step, frozen=True, tag="does"):
    """A step that is the function it is given."""

    call: Callable[[Batch], Batch] = lambda batch: batch

    def start(self, cx: Context) -> Transform:
        """That function."""
        return self.call
