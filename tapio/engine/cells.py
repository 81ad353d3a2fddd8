"""Trunk cells: what a stage does to parcels and tickets. Synchronous, without tasks or clocks.

Each stage of the trunk is run by one cell. Cells keep the ledger and the tickets, so that
stages know of neither.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol

from tapio.engine.ledger import Ledger
from tapio.engine.parcel import Leftover, Parcel, leftover
from tapio.model.batch import Batch
from tapio.model.errors import ContractError, TapioError
from tapio.model.stage import Stateful, Transform
from tapio.model.ticket import Outcome

FAULTS_IN_A_ROW = 10
"""Rule 21: this many exceptions of one stage in a row stop the run."""


class Instant(NamedTuple):
    """Now, twice: wall clock in ns for stages, the loop's seconds for deadlines."""

    ns: int
    s: float


class StageFailure(TapioError):
    """A stage failed so often in a row that the run was stopped."""


class Dead(NamedTuple):
    """A parcel whose stage failed, on its way to the dead letters."""

    parcel: Parcel
    stage: str
    reason: str


class Morgue:
    """Where cells leave what their stages failed on; the pump buries it (rule 21)."""

    def __init__(self) -> None:
        self.dead: deque[Dead] = deque()
        self.failure: StageFailure | None = None
        self._run: dict[str, int] = {}

    def healthy(self, stage: str) -> None:
        """``stage`` did its work: its run of faults is over."""
        self._run.pop(stage, None)

    def fault(self, stage: str, error: Exception) -> str:
        """Count a fault of ``stage``; the sentence that says it."""
        count = self._run[stage] = self._run.get(stage, 0) + 1
        said = f"{type(error).__name__}: {error}"
        if count >= FAULTS_IN_A_ROW:
            self.failure = StageFailure(
                f"stage {stage} failed {count} times in a row, at last {said}"
            )
        return said

    def held(self) -> Iterator[tuple[str, int]]:
        """(source, rows) of what waits to be buried."""
        for dead in self.dead:
            yield dead.parcel.source, dead.parcel.rows

    def batches(self) -> Iterator[Batch]:
        """The batches that wait to be buried."""
        for dead in self.dead:
            yield dead.parcel.batch

    def sweep(self) -> Iterator[Leftover]:
        """Give them up."""
        dead, self.dead = self.dead, deque()
        for one in dead:
            yield leftover(one.parcel)


class Cell(Protocol):
    """One stage at work."""

    label: str
    rows_in: int
    rows_out: int

    def push(self, parcel: Parcel, now: Instant) -> list[Parcel]:
        """Take ``parcel``; what comes out of it now."""
        ...

    def due(self) -> float | None:
        """When ``tick`` wants to be called, in loop time; None = not at all."""
        ...

    def tick(self, now: Instant) -> list[Parcel]:
        """What time alone brings out."""
        ...

    def drain(self, now: Instant) -> list[Parcel]:
        """All that is left, at the end."""
        ...

    def held(self) -> Iterator[tuple[str, int]]:
        """(source, rows) of all that is in it."""
        ...

    def batches(self) -> Iterator[Batch]:
        """The batches in it."""
        ...

    def sweep(self) -> Iterator[Leftover]:
        """Give up all that is in it."""
        ...


class TransformCell:
    """Runs a Transform or a Stateful; rows that it leaves out are counted under ``removed``."""

    def __init__(
        self,
        label: str,
        stage: Transform | Stateful,
        removed: Literal["filtered", "sampled_out"],
        ledger: Ledger,
        morgue: Morgue,
    ) -> None:
        self.label = label
        self.rows_in = self.rows_out = 0
        self._call: Callable[[Batch, Instant], Batch] = _caller(stage)
        self._removed = removed
        self._ledger = ledger
        self._morgue = morgue

    def push(self, parcel: Parcel, now: Instant) -> list[Parcel]:
        """The rows that the stage keeps of ``parcel``."""
        batch = parcel.batch
        try:
            out = self._call(batch, now)
            check(self.label, batch, out)
        except Exception as error:
            self._morgue.dead.append(
                Dead(parcel, self.label, self._morgue.fault(self.label, error))
            )
            return []
        self._morgue.healthy(self.label)
        self.rows_in += batch.rows
        self.rows_out += out.rows
        if gone := batch.rows - out.rows:
            account = self._ledger.trunk[parcel.source]
            if self._removed == "filtered":
                account.filtered += gone
            else:
                account.sampled_out += gone
        if out.rows == 0:
            parcel.ticket.settle(Outcome.DONE)
            return []
        parcel.batch = out
        return [parcel]

    def due(self) -> float | None:
        """Never: it holds nothing."""
        return None

    def tick(self, now: Instant) -> list[Parcel]:
        """Nothing."""
        return []

    def drain(self, now: Instant) -> list[Parcel]:
        """Nothing."""
        return []

    def held(self) -> Iterator[tuple[str, int]]:
        """Nothing."""
        return iter(())

    def batches(self) -> Iterator[Batch]:
        """Nothing."""
        return iter(())

    def sweep(self) -> Iterator[Leftover]:
        """Nothing."""
        return iter(())


def _caller(stage: Transform | Stateful) -> Callable[[Batch, Instant], Batch]:
    if isinstance(stage, Stateful):
        step = stage.step
        return lambda batch, now: step(batch, now.ns)
    return lambda batch, now: stage(batch)


def check(label: str, batch: Batch, out: Batch) -> None:
    """Hold a stage to its contract; raises ContractError."""
    if out.rows > batch.rows:
        raise ContractError(
            f"stage {label} gave {out.rows} rows for {batch.rows}; it may only keep"
        )
    if out.topic != batch.topic:
        raise ContractError(f"stage {label} turned topic {batch.topic} into {out.topic}")
