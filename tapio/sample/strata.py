"""``Strata``: numbers the (topic, entity) pairs that are seen, within a bound."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from tapio.model.batch import Batch
from tapio.model.entities import EntityTable

SHARED = 0
"""The slot of all strata that found no other: they are one stratum until there is room."""

_VIEWS = 64
"""(topic, entity table) pairs remembered; a table lives for an epoch, topics are a few dozen."""

_IDLE_ROWS = 0.05
"""A stratum with less than this left of its decayed count was silent for three time constants."""

Key = tuple[str, bytes]
"""A topic, and a digest of an entity's attributes: the same in every epoch and after a restart."""


class Strata:
    """A slot (below ``most``) for each stratum, and its decayed count of rows in ``rows``.

    Finding the slots of a batch is one gather; Python sees a stratum when it is new to an
    entity table.
    """

    def __init__(self, most: int) -> None:
        self.rows = np.zeros(most)
        self._slots: dict[Key, int] = {}
        self._free = list(range(most - 1, SHARED, -1))
        self._views: dict[tuple[str, int], npt.NDArray[np.intp]] = {}
        self._crowded = False

    def of(self, batch: Batch) -> npt.NDArray[np.intp]:
        """The slot of each row."""
        if batch.entities is None or "entity" not in batch:
            return np.broadcast_to(np.intp(self._slot((batch.topic, b""))), batch.rows)
        codes = batch["entity"]
        view = self._view(batch.topic, batch.entities)
        slots: npt.NDArray[np.intp] = view[codes]
        if batch.rows and slots.min() < 0:
            for code in np.unique(codes[slots < 0]).tolist():
                view[code] = self._slot((batch.topic, _digest(batch.entities, code)))
            slots = view[codes]
        return slots

    def make_room(self) -> None:
        """Where strata had to share a slot, give those of silent strata away."""
        if not self._crowded:
            return
        self._crowded = False
        silent = {s: k for k, s in self._slots.items() if self.rows[s] < _IDLE_ROWS}
        for key in silent.values():
            del self._slots[key]
        self._free += sorted(silent, reverse=True)
        gone = np.zeros(len(self.rows), bool)
        gone[[SHARED, *silent]] = True
        for view in self._views.values():
            view[(view >= 0) & gone[view]] = -1

    def counts(self) -> list[tuple[str, bytes, float]]:
        """(topic, digest, decayed rows) of each stratum, the largest first."""
        known = [(*key, float(self.rows[slot])) for key, slot in self._slots.items()]
        return sorted(known, key=lambda stratum: -stratum[2])

    def fill(self, counts: list[tuple[str, bytes, float]]) -> None:
        """Take the first of ``counts`` that find room; to be called before all else."""
        for topic, digest, rows in counts[: len(self.rows) - 1]:
            self.rows[self._slot((topic, digest))] = rows

    def _slot(self, key: Key) -> int:
        slot = self._slots.get(key)
        if slot is None:
            if not self._free:
                self._crowded = True
                return SHARED
            slot = self._slots[key] = self._free.pop()
        return slot

    def _view(self, topic: str, table: EntityTable) -> npt.NDArray[np.intp]:
        """Slot by entity code, -1 where it is not known; the last one is code -1's."""
        view = self._views.pop((topic, table.epoch), None)
        if view is None or len(view) <= len(table):
            wider = np.full(2 * len(table) + 2, -1, np.intp)
            if view is not None:
                wider[: len(view) - 1] = view[:-1]
            view = wider
        if len(self._views) >= _VIEWS:
            del self._views[next(iter(self._views))]
        self._views[topic, table.epoch] = view  # the last used stands last
        return view


def _digest(table: EntityTable, code: int) -> bytes:
    said = repr(sorted(table[code].items()))
    return blake2b(said.encode(), digest_size=8).digest()
