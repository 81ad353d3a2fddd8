"""``by``: gathers rows into larger batches, by rows, bytes and age."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import msgspec

from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.entities import EntityTable
from tapio.model.policy import Positive, Seconds
from tapio.model.schema import ERROR, Schema
from tapio.model.stage import Batching, Context, Window


class By(Batching, frozen=True, tag="by"):
    """Holds rows until there are ``max_rows`` or ``max_bytes``, or the first is ``max_age_s`` old.

    A row of severity ≥ error lets all go at once (rule 10). What comes out is what went in,
    in batches of at most ``max_rows`` rows and about ``max_bytes`` (a single row may be
    larger); each source and topic is held apart, and so are schemas and entity tables.
    """

    regroups: ClassVar[bool] = True

    max_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 8192
    max_bytes: Positive = 4 << 20
    max_age_s: Seconds = 0.1

    def start(self, cx: Context) -> Window:
        """Start one."""
        return Gathered(self)


class Gathered:
    """The rows of one (source, topic) that wait to be a batch."""

    def __init__(self, spec: By) -> None:
        self.hold_s = spec.max_age_s
        self._spec = spec
        self._waiting: list[Batch] = []
        self._rows = self._bytes = 0

    def push(self, batch: Batch, now_ns: int) -> bool:
        """Take ``batch``; True when there is enough, or when a row cannot wait."""
        self._waiting.append(batch)
        self._rows += batch.rows
        self._bytes += batch.size
        return (
            self._rows >= self._spec.max_rows
            or self._bytes >= self._spec.max_bytes
            or bool((batch["severity"] >= ERROR).any())
        )

    def flush(self, now_ns: int) -> list[Batch]:
        """All rows, in the order in which they came wherever schema and entities are the same."""
        waiting, self._waiting = self._waiting, []
        self._rows = self._bytes = 0
        kinds: dict[tuple[Schema, EntityTable | None], list[Batch]] = {}
        for batch in waiting:
            kinds.setdefault((batch.schema, batch.entities), []).append(batch)
        return [whole for alike in kinds.values() for whole in self._joined(alike)]

    def held(self) -> int:
        """Rows that wait, found by looking."""
        return sum(batch.rows for batch in self._waiting)

    def batches(self) -> Iterator[Batch]:
        """The batches that wait, for whoever charges memory."""
        return iter(self._waiting)

    def _joined(self, alike: list[Batch]) -> Iterator[Batch]:
        """Batches of one schema and entity table, cut and joined to the most that is allowed."""
        size = sum(b.size for b in alike) / max(1, sum(b.rows for b in alike))
        most = max(1, min(self._spec.max_rows, int(self._spec.max_bytes / max(1.0, size))))
        part: list[Batch] = []
        room = most
        for batch in alike:
            start = 0
            while start < batch.rows:
                part.append(batch.slice(start, room) if start or batch.rows > room else batch)
                start += part[-1].rows
                room -= part[-1].rows
                if room == 0:
                    yield Batch.concat(part)
                    part, room = [], most
        if part:
            yield Batch.concat(part)
