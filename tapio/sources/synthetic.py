"""Made-up rows: seeded, at a rate, of any schema; for demonstrations, tests and load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.entities import EntityTable
from tapio.model.errors import EndOfStream, SchemaError
from tapio.model.schema import COMMON, ENTITY, ERROR, INFO, WARN, Schema
from tapio.model.stage import Context, Delivery, Read, Source
from tapio.model.ticket import Ticket
from tapio.sources.values import Values, chosen, maker

TICK_S = 0.02
"""At a rate, rows come in batches this far apart, or a row at a time where that is longer."""

BEHIND_S = 1.0
"""A source that was not read for longer does not make up for it."""

Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
Severity: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=24)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

DEFAULT = (
    Values("pid", "uint32", 1, 32_768),
    Values("command", "text", cardinality=50),
    Values("message", "string", cardinality=3000, min_length=10, max_length=300),
    Values("value", "float64"),
)
"""About the size and variety of process events."""


class Synthetic(Source, frozen=True, tag="synthetic"):
    """Makes up rows of one ``topic``, always the same for one ``seed``.

    ``rate`` is in rows a second (0: as fast as they are taken), in batches of at most
    ``rows``; ``count`` is where it ends (0: never). Each row has one of ``severities``, by
    their shares, and is about one of ``entities``, each a container in a pod. ``columns``
    are lists of name, type, min and max, cardinality and lengths. A source that is not read
    for more than a second does not make up for it afterwards. Only the times are not seeded:
    they are when each row was due.
    """

    rate: Share = 0.0
    count: Count = 0
    rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 4096
    topic: str = "synthetic.event"
    columns: tuple[Values, ...] = DEFAULT
    severities: dict[Severity, Share] = msgspec.field(
        default_factory=lambda: {INFO: 97.0, WARN: 2.0, ERROR: 1.0}
    )
    entities: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    seed: Count = 0

    def __post_init__(self) -> None:
        if not 0 < sum(self.severities.values()) < float("inf"):
            raise ValueError("severities need shares that are above 0 in sum")
        try:
            self.schema  # noqa: B018 - made for its errors
        except SchemaError as error:
            raise ValueError(str(error)) from error

    @property
    def schema(self) -> Schema:
        """The topic and all columns, ``entity`` aside."""
        return Schema(self.topic, (*COMMON, *(values.field for values in self.columns)))

    def open(self, cx: Context) -> AbstractAsyncContextManager[Read]:
        """Start at the first row."""
        return _opened(self, cx)


@asynccontextmanager
async def _opened(spec: Synthetic, cx: Context) -> AsyncIterator[Read]:
    yield Mill(spec, cx).read


class Mill:
    """Makes the rows that are due."""

    def __init__(self, spec: Synthetic, cx: Context) -> None:
        self._spec = spec
        self._cx = cx
        self._schema = spec.schema
        self._made = 0
        self._began = cx.clock.monotonic()
        self._severities = chosen(spec.severities, (spec.seed, 0))
        self._makers = {
            values.name: maker(values, (spec.seed, 2 + n)) for n, values in enumerate(spec.columns)
        }
        self._table = table(spec.entities)
        self._entity = maker(
            Values("entity", "int32", 0, max(0, spec.entities - 1)), (spec.seed, 1)
        )

    async def read(self) -> Delivery:
        """The next rows, once they are due; EndOfStream after the last, or at a stop."""
        await asyncio.sleep(0)
        while not self._cx.stopping.is_set() and self._left:
            if rows := self._due():
                return Delivery(self._make(rows), Ticket())
            await self._until_due()
        raise EndOfStream

    @property
    def _left(self) -> int:
        """Rows up to the end, or a batch where there is none."""
        return self._spec.count - self._made if self._spec.count else self._spec.rows

    @property
    def _wanted(self) -> int:
        """Rows worth a batch."""
        tick = max(1, int(self._spec.rate * TICK_S)) if self._spec.rate else self._spec.rows
        return min(tick, self._spec.rows, self._left)

    def _due(self) -> int:
        """How many rows to make now; 0 while there are too few for a batch."""
        rate = self._spec.rate
        if not rate:
            return self._wanted
        now = self._cx.clock.monotonic()
        due = int((now - self._began) * rate + 1e-6) - self._made
        if due > max(1.0, BEHIND_S * rate):
            self._began = now - (self._made + self._wanted) / rate
            due = self._wanted
        return min(due, self._spec.rows, self._left) if due >= self._wanted else 0

    async def _until_due(self) -> None:
        """Wait for a batch's last row, or for a stop."""
        at = self._began + (self._made + self._wanted) / self._spec.rate
        try:
            async with asyncio.timeout(max(0.0, at - self._cx.clock.monotonic())):
                await self._cx.stopping.wait()
        except TimeoutError:
            return

    def _make(self, rows: int) -> Batch:
        first = self._cx.sequences.take(self._spec.topic, rows)
        columns = {
            "time_ns": self._times(rows),
            "seq": np.arange(first, first + rows, dtype=np.uint64),
            "severity": self._severities(rows),
            **{name: make(rows) for name, make in self._makers.items()},
        }
        self._made += rows
        batch = Batch(self._schema, columns)
        if not len(self._table):
            return batch
        return batch.with_columns({ENTITY: self._entity(rows)}, self._table)

    def _times(self, rows: int) -> npt.NDArray[np.int64]:
        """When each row was due, on the wall clock."""
        now_ns = self._cx.clock.time_ns()
        if not self._spec.rate:
            return np.full(rows, now_ns)
        numbers = np.arange(self._made + 1, self._made + rows + 1)
        age_s = self._cx.clock.monotonic() - self._began - numbers / self._spec.rate
        return now_ns - (np.maximum(age_s, 0.0) * 1e9).astype(np.int64)


def table(entities: int) -> EntityTable:
    """As many containers, each in a pod of its own, in eight namespaces."""
    made = EntityTable()
    for number in range(entities):
        attributes = {
            "container.id": f"{number:064x}",
            "k8s.namespace.name": f"namespace-{number % 8}",
            "k8s.pod.name": f"pod-{number}",
        }
        made.add(number, attributes)
    return made
