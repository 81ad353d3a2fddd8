"""``drop``: removes columns."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tapio.model.batch import Batch
from tapio.model.schema import COMMON, WEIGHT, matches
from tapio.model.stage import Context, Step, Transform

KEPT = frozenset(field.name for field in (*COMMON, WEIGHT))
"""Columns that cannot go; without ``weight`` every row of a sample would count as one."""


class Drop(Step, frozen=True, tag="drop"):
    """Removes ``columns``; rows stay.

    Without ``topic`` a topic that lacks a column passes as it is. With ``topic`` (observers or
    topics) only those are changed, and they must have the columns: SchemaError otherwise.
    """

    columns: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    topic: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if kept := KEPT.intersection(self.columns):
            raise ValueError(f"column {min(kept)!r} cannot be dropped; the pipeline needs it")

    def start(self, cx: Context) -> Transform:
        """Start it."""
        return self._without

    def _without(self, batch: Batch) -> Batch:
        if self.topic:
            return batch.without(self.columns) if matches(batch.topic, self.topic) else batch
        present = [name for name in self.columns if name in batch]
        return batch.without(present) if present else batch
