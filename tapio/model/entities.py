"""The table that says who a row is about: entity codes and their resource attributes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UNKNOWN = -1
"""The code of a row whose entity is not known."""

_epochs = count(1)


class EntityTable:
    """Entities by code; append-only, one epoch long. Batches hold the table they point into.

    A code (int32, from 0) is never reused. When half the codes are dead the owner takes
    ``successor()`` and goes on with that: old batches keep the old table alive.
    Attributes are OpenTelemetry resource attributes (``container.id``, ``k8s.pod.uid``).
    """

    def __init__(self) -> None:
        self.epoch = next(_epochs)
        self._attributes: list[Mapping[str, str]] = []
        self._codes: dict[object, int] = {}
        self._dead: set[int] = set()

    def __len__(self) -> int:
        return len(self._attributes)

    def __getitem__(self, code: int) -> Mapping[str, str]:
        """The resource attributes of ``code``; none for ``UNKNOWN``."""
        return self._attributes[code] if code >= 0 else {}

    def add(self, key: object, attributes: Mapping[str, str]) -> int:
        """The code of a new entity known by ``key``; an earlier one of that key is retired."""
        self.retire(key)
        code = len(self._attributes)
        self._attributes.append(dict(attributes))
        self._codes[key] = code
        return code

    def code(self, key: object) -> int:
        """The code of ``key``, ``UNKNOWN`` where there is none alive."""
        return self._codes.get(key, UNKNOWN)

    def retire(self, key: object) -> None:
        """Say that ``key`` is gone; its code still resolves for batches that carry it."""
        code = self._codes.pop(key, None)
        if code is not None:
            self._dead.add(code)

    @property
    def stale(self) -> bool:
        """Whether half the codes or more are dead (never below 64 codes)."""
        return len(self._attributes) >= 64 and 2 * len(self._dead) >= len(self._attributes)

    def successor(self) -> EntityTable:
        """A new epoch with the living entities only, under new codes."""
        new = EntityTable()
        for key, code in self._codes.items():
            new.add(key, self._attributes[code])
        return new

    def columns(self, codes: npt.NDArray[np.int32]) -> dict[str, pa.DictionaryArray]:
        """One coded text column an attribute name, sorted by name, for rows of ``codes``."""
        used = [int(c) for c in np.unique(codes) if c >= 0]
        names = sorted({name for c in used for name in self._attributes[c]})
        return {name: self._column(name, used, codes) for name in names}

    def _column(
        self, name: str, used: list[int], codes: npt.NDArray[np.int32]
    ) -> pa.DictionaryArray:
        values: dict[str, int] = {}
        index = np.full(len(self._attributes) + 1, -1, np.int32)  # the last slot is UNKNOWN's
        for code in used:
            value = self._attributes[code].get(name)
            if value is not None:
                index[code] = values.setdefault(value, len(values))
        rows = index[codes]
        indices = pa.array(rows, pa.int32(), mask=rows < 0)
        return pa.DictionaryArray.from_arrays(indices, pa.array(list(values), pa.string()))
