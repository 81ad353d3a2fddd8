"""What type checkers must accept, and what they must refuse; both read this file, nothing runs it.

A line that must be refused carries an ignore: where it is not needed, the checkers complain.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_type

import numpy as np

import tapio
from tapio import (
    Batch,
    Context,
    Delivery,
    Field,
    Outcome,
    Pipeline,
    Read,
    Schema,
    Sink,
    Source,
    Step,
    Ticket,
    Transform,
    Write,
    sinks,
    steps,
)

SCHEMA = Schema.of("demo.row", Field("n", "int64"))


class Demo(Source, frozen=True, tag="demo"):
    """A source by the contract; its first field may be given by position."""

    rows: int = 1

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Read]:
        """Open it."""

        async def read() -> Delivery:
            n = np.arange(self.rows)
            common = {"time_ns": n, "seq": n.astype(np.uint64), "severity": n.astype(np.uint8)}
            return Delivery(Batch(SCHEMA, common | {"n": n}), Ticket())

        yield read


class Late(Step, frozen=True, tag="late"):
    """A step whose transform is a lambda."""

    def start(self, cx: Context) -> Transform:
        """Start it."""
        return lambda batch: batch.where(batch["n"] > 0)


class Gone(Sink, frozen=True, tag="gone"):
    """A sink that forgets to be asynchronous."""

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Write]:
        """Open it."""

        def write(batch: Batch) -> None:
            del batch

        yield write  # type: ignore[misc]


def build() -> Pipeline:
    """What a user writes."""
    return Pipeline("demo").source(Demo(3, name="first")).step(Late()).sink(sinks.Console())


def refused() -> None:
    """What a user must not write."""
    Pipeline("demo").source(Late())  # type: ignore[arg-type]
    Pipeline("demo").sink(Demo(3))  # type: ignore[arg-type]
    Demo(rows="3")  # type: ignore[arg-type]
    sinks.Consol()  # type: ignore[attr-defined]
    steps.manage()  # type: ignore[attr-defined]
    tapio.Batsch  # type: ignore[attr-defined]  # noqa: B018
    Ticket().settle(True)  # type: ignore[arg-type]


assert_type(build().plan.name, str)
assert_type(max(Outcome.DONE, Outcome.RETRY), Outcome)
assert_type(Ticket().fork(2), list[Ticket])
assert_type(Delivery(Batch.concat([]), Ticket()).batch, Batch)
