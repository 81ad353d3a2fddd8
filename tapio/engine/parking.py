"""``LookupCell``: runs an enricher that may say "later", and parks those rows meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tapio.engine.cells import Dead, Instant, Morgue, check
from tapio.engine.parcel import Leftover, Parcel, leftover, one_a_row
from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.errors import ContractError
from tapio.model.policy import Parking
from tapio.model.stage import Later, Lookup

TICK_S = 0.05
"""How often parked rows are offered again: well under the second that an event may take."""


@dataclass(slots=True)
class _Parked:
    parcel: Parcel
    until: float


class LookupCell:
    """Parks what a Lookup cannot resolve, in order; bounded in rows and age.

    Rows that are too old, or the oldest where there are too many, are passed with ``final``.
    """

    def __init__(self, label: str, lookup: Lookup, policy: Parking, morgue: Morgue) -> None:
        self.label = label
        self.rows_in = self.rows_out = 0
        self.expired = 0
        self._lookup = lookup
        self._policy = policy
        self._morgue = morgue
        self._parked: deque[_Parked] = deque()
        self._rows = 0
        self._next_tick = 0.0

    def push(self, parcel: Parcel, now: Instant) -> list[Parcel]:
        """Look ``parcel`` up; the rows that are resolved, and older ones that had to make room."""
        self.rows_in += parcel.rows
        if not self._parked:
            self._next_tick = now.s + TICK_S
        out = self._look(parcel, now.s + self._policy.age_s)
        while self._rows > self._policy.rows:
            out += self._expire()
        self.rows_out += sum(p.rows for p in out)
        return out

    def due(self) -> float | None:
        """The next tick, where rows are parked."""
        return self._next_tick if self._parked else None

    def tick(self, now: Instant) -> list[Parcel]:
        """Offer the parked rows again."""
        if not self._parked or now.s < self._next_tick:
            return []
        self._next_tick = now.s + TICK_S
        self._parked = deque(_together(self._parked))
        out: list[Parcel] = []
        for _ in range(len(self._parked)):
            if self._parked[0].until <= now.s:
                out += self._expire()
            else:
                parked = self._unpark()
                out += self._look(parked.parcel, parked.until)
        self.rows_out += sum(p.rows for p in out)
        return out

    def drain(self, now: Instant) -> list[Parcel]:
        """Pass all that is parked on as it is."""
        out: list[Parcel] = []
        while self._parked:
            out += self._expire()
        self.rows_out += sum(p.rows for p in out)
        return out

    def held(self) -> Iterator[tuple[str, int]]:
        """(source, rows) of what is parked."""
        for parked in self._parked:
            yield parked.parcel.source, parked.parcel.rows

    def batches(self) -> Iterator[Batch]:
        """The batches that are parked."""
        for parked in self._parked:
            yield parked.parcel.batch

    def sweep(self) -> Iterator[Leftover]:
        """Give up what is parked."""
        parked, self._parked, self._rows = self._parked, deque(), 0
        for one in parked:
            yield leftover(one.parcel)

    def _look(self, parcel: Parcel, until: float) -> list[Parcel]:
        answer = self._ask(parcel, final=False)
        if answer is None:
            return []
        if isinstance(answer, Batch):
            parcel.batch = answer
            return [parcel]
        parcel.batch = answer.batch
        waiting, ready = parcel.divide(answer.mask)
        if waiting is not None:
            self._parked.append(_Parked(waiting, until))
            self._rows += waiting.rows
        return [] if ready is None else [ready]

    def _expire(self) -> list[Parcel]:
        parcel = self._unpark().parcel
        answer = self._ask(parcel, final=True)
        if answer is None:
            return []
        self.expired += parcel.rows
        parcel.batch = answer if isinstance(answer, Batch) else answer.batch
        return [parcel]

    def _unpark(self) -> _Parked:
        parked = self._parked.popleft()
        self._rows -= parked.parcel.rows
        return parked

    def _ask(self, parcel: Parcel, *, final: bool) -> Batch | Later | None:
        """The Lookup's answer, held to its contract; None where it failed (rule 21)."""
        try:
            answer = self._lookup.look(parcel.batch, final=final)
            batch = answer if isinstance(answer, Batch) else answer.batch
            check(self.label, parcel.batch, batch)
            if batch.rows != parcel.rows:
                raise ContractError(f"lookup {self.label} gave {batch.rows} rows for {parcel.rows}")
            if isinstance(answer, Later) and not one_a_row(answer.mask, parcel.rows):
                raise ContractError(f"lookup {self.label} gave a mask that is not one bool a row")
        except Exception as error:
            self._morgue.dead.append(
                Dead(parcel, self.label, self._morgue.fault(self.label, error))
            )
            return None
        self._morgue.healthy(self.label)
        return answer


def _together(parked: Iterable[_Parked]) -> Iterator[_Parked]:
    """Neighbours of one kind that would expire within a tick, as one.

    A node that drains a few rows at a time would else have a thousand parcels to offer again,
    twenty times a second; so it has two hundred at most, whatever the size of a drain.
    """
    group: list[_Parked] = []
    for one in parked:
        if group and not _mix(group, one):
            yield _joined(group)
            group = []
        group.append(one)
    if group:
        yield _joined(group)


def _mix(group: list[_Parked], one: _Parked) -> bool:
    """Whether ``one`` can be a part of the batch that ``group`` will be."""
    first, other = group[0].parcel, one.parcel
    return (
        one.until - group[0].until < TICK_S
        and other.kind == first.kind
        and other.rows + sum(p.parcel.rows for p in group) <= MAX_ROWS
    )


def _joined(group: list[_Parked]) -> _Parked:
    if len(group) == 1:
        return group[0]
    return _Parked(Parcel.joined([one.parcel for one in group]), group[0].until)
