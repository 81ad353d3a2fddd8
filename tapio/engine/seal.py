"""``Sealer``: re-batches for one sink (DESIGN of max_rows, max_bytes, max_age_s)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tapio.engine.parcel import Kind, Leftover, Parcel, leftover
from tapio.model.batch import Batch
from tapio.model.entities import EntityTable
from tapio.model.stage import Sink


@dataclass(slots=True)
class _Pile:
    """Parcels of one source, schema and entity table that will be one batch."""

    since: float
    entities: EntityTable | None
    parcels: list[Parcel] = field(default_factory=list)
    rows: int = 0
    size: int = 0


class Sealer:
    """Gathers parcels until a batch is full, old or urgent; then seals it under an id.

    A sealed batch is never cut again under its id (rule 16). A row of severity ≥ error seals
    its batch at once (rule 10). Time is an argument, in seconds.
    """

    def __init__(self, spec: Sink, new_id: Callable[[], str]) -> None:
        self._spec = spec
        self._new_id = new_id
        self._piles: dict[Kind, _Pile] = {}
        self.ready: deque[Parcel] = deque()

    def push(self, parcel: Parcel, now: float) -> None:
        """Take ``parcel``; full batches come to ``ready``."""
        kind = parcel.kind
        rest: Parcel | None = parcel
        while rest is not None:
            pile = self._piles.get(kind)
            if pile is None:
                pile = self._piles[kind] = _Pile(now, parcel.batch.entities)
            room = self._room(pile, rest)
            if room == 0:
                self._seal(kind)
                continue
            part, rest = (rest, None) if room >= rest.rows else rest.cut(room)
            pile.parcels.append(part)
            pile.rows += part.rows
            pile.size += part.batch.size
            if rest is not None or pile.rows >= self._spec.max_rows:
                self._seal(kind)
        if parcel.urgent and kind in self._piles:
            self._seal(kind)

    def due(self) -> float | None:
        """When the oldest pile has waited long enough."""
        oldest = min((pile.since for pile in self._piles.values()), default=None)
        return None if oldest is None else oldest + self._spec.max_age_s

    def tick(self, now: float) -> None:
        """Seal what is old enough."""
        for kind in [k for k, p in self._piles.items() if p.since + self._spec.max_age_s <= now]:
            self._seal(kind)

    def drain(self) -> None:
        """Seal all that is left."""
        for kind in list(self._piles):
            self._seal(kind)

    def halve(self, parcel: Parcel) -> tuple[Parcel, Parcel]:
        """A batch that was too large as two, under ids of their own (rule 12)."""
        first, second = parcel.cut(parcel.rows // 2)
        first.batch = first.batch.sealed(self._new_id())
        second.batch = second.batch.sealed(self._new_id())
        return first, second

    def parcels(self) -> Iterator[Parcel]:
        """All that is in it."""
        yield from self.ready
        for pile in self._piles.values():
            yield from pile.parcels

    def held(self) -> Iterator[tuple[str, int]]:
        """(source, rows) of all that is in it."""
        for parcel in self.parcels():
            yield parcel.source, parcel.rows

    def batches(self) -> Iterator[Batch]:
        """The batches in it."""
        for parcel in self.parcels():
            yield parcel.batch

    def sweep(self) -> Iterator[Leftover]:
        """Give up all that is in it."""
        parcels = list(self.parcels())
        self.ready.clear()
        self._piles.clear()
        yield from map(leftover, parcels)

    def _room(self, pile: _Pile, parcel: Parcel) -> int:
        """How many rows of ``parcel`` the pile still takes; at least one where it is empty."""
        rows = self._spec.max_rows - pile.rows
        a_row = max(1.0, parcel.batch.size / parcel.rows)
        by_size = int((self._spec.max_bytes - pile.size) / a_row)
        return max(min(rows, by_size), 0 if pile.parcels else 1)

    def _seal(self, kind: Kind) -> None:
        whole = Parcel.joined(self._piles.pop(kind).parcels)
        whole.batch = whole.batch.sealed(self._new_id())
        self.ready.append(whole)
