"""The contracts: all that a source, a stage or a sink must be.

A Spec is the plugin: a frozen config struct that opens the live thing. Its tag is its config
key and its file's stem. A leaf declares ``class Otlp(Sink, frozen=True, tag="otlp")``; it does
not repeat ``kw_only``, so its own first field may be given by position.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    ClassVar,
    NamedTuple,
    Protocol,
    TypeAlias,
    runtime_checkable,
)

import msgspec
import numpy as np
import numpy.typing as npt

from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.origin import Origin, Sequences
from tapio.model.policy import Bounds, Breaker, OnFull, Positive, Rate, Retry, Seconds
from tapio.model.schema import Field, Schema
from tapio.model.ticket import Ticket
from tapio.model.when import When

if TYPE_CHECKING:
    import logging

    from opentelemetry.metrics import Meter


class Delivery(NamedTuple):
    """One batch from a source, and the ticket that it must see settled."""

    batch: Batch
    ticket: Ticket


class Later(NamedTuple):
    """What a Lookup cannot resolve yet: ``mask`` (bool, one a row) marks the rows to park."""

    batch: Batch
    mask: npt.NDArray[np.bool_]


Read: TypeAlias = Callable[[], Awaitable[Delivery]]
"""One batch and its ticket. Raises EndOfStream at the end. Cancelling it loses nothing."""

Transform: TypeAlias = Callable[[Batch], Batch]
"""Stateless, synchronous, pure. Fewer rows out are filtered, and counted so."""

Write: TypeAlias = Callable[[Batch], Awaitable[None]]
"""Returned = durable there. Raises Retryable, Rejected or PartlyRejected."""


@runtime_checkable
class Stateful(Protocol):
    """A sampler or step with memory; seeded. May also have snapshot() and restore(bytes)."""

    def step(self, batch: Batch, now_ns: int) -> Batch:
        """The rows kept of ``batch``; never more than came in."""
        ...


@runtime_checkable
class Snapshot(Protocol):
    """State that survives a restart; saved each minute and at drain, by rename."""

    def snapshot(self) -> bytes:
        """The state as versioned bytes."""
        ...

    def restore(self, state: bytes) -> None:
        """Take the state; DecodeError where it is damaged or older: then one starts afresh."""
        ...


@runtime_checkable
class Lookup(Protocol):
    """An enricher that may have to wait for what it knows."""

    def look(self, batch: Batch, *, final: bool) -> Batch | Later:
        """``batch`` enriched.

        Rows in ``Later.mask`` are offered again; at last with ``final``, when they must be
        passed on as they are.
        """
        ...


@runtime_checkable
class Window(Protocol):
    """Replaces rows by other rows. Time is an argument, never read."""

    hold_s: float
    """``flush`` is called this long after the first push since the last flush."""

    def push(self, batch: Batch, now_ns: int) -> bool:
        """Take ``batch``; True means: flush now."""
        ...

    def flush(self, now_ns: int) -> Iterable[Batch]:
        """Emit all that is held: at the deadline, when full, at drain."""
        ...

    def held(self) -> int:
        """Rows taken and not yet flushed, found by looking (rule 4)."""
        ...


@runtime_checkable
class Tap(Window, Protocol):
    """A Window that sees each batch and lets it pass; what it emits is a source of its own."""

    emits: str
    """The name of that source (rule 5)."""


class Clock(Protocol):
    """Time, given to stages so that tests can own it."""

    def time_ns(self) -> int:
        """Wall clock, ns since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; the loop's own time."""
        ...


class Stopping(Protocol):
    """Whether a stop was asked for; an asyncio.Event is one. Sources then finish."""

    def is_set(self) -> bool:
        """True from the request on."""
        ...

    async def wait(self) -> object:
        """Return at the request."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage gets from outside; nothing is global.

    ``pressure()`` is the most of memory / soft limit and held / capacity of any channel (0 to
    1 and above; acts above 0.8, lets go below 0.5). ``host_root`` is ``/`` or a read-only mount
    of the host's /proc and cgroup tree. ``resource`` holds the OTel resource attributes.
    """

    pipeline: str
    stage: str
    clock: Clock
    stopping: Stopping
    pressure: Callable[[], float]
    host_root: Path
    state_dir: Path
    meter: Meter
    logger: logging.Logger
    origin: Origin
    sequences: Sequences
    resource: Mapping[str, str]


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """A stage's configuration; the plugin itself."""

    name: str = ""
    """How metrics and the ledger call it; by default its type, numbered where it repeats."""


class Source(Spec, frozen=True):
    """Where rows come from."""

    replayable: ClassVar[bool] = False
    """Whether a ticket that settles RETRY makes the rows come again (rule 9)."""

    schemas: ClassVar[tuple[Schema, ...]] = ()
    """What it may give, where that is known beforehand; a config is checked against it."""

    def open(self, cx: Context) -> AbstractAsyncContextManager[Read]:
        """Open it; leaving closes it, after all tickets have settled."""
        raise NotImplementedError


class Enrich(Spec, frozen=True):
    """Adds columns. May keep a table fresh in a TaskGroup of its own."""

    adds: ClassVar[tuple[Field, ...] | None] = None
    """The columns that it adds, where that is known beforehand."""

    def open(self, cx: Context) -> AbstractAsyncContextManager[Transform | Lookup]:
        """Open it."""
        raise NotImplementedError


class Step(Spec, frozen=True):
    """Changes or removes rows; removed rows are ``filtered``."""

    def start(self, cx: Context) -> Transform | Stateful:
        """Start it."""
        raise NotImplementedError


class Sample(Spec, frozen=True):
    """Keeps some rows and multiplies their weight; the others are ``sampled_out``."""

    def start(self, cx: Context) -> Transform | Stateful:
        """Start it."""
        raise NotImplementedError


class Batching(Spec, frozen=True):
    """Gathers rows; one Window is started for each (source, topic) (rule 10)."""

    regroups: ClassVar[bool] = False
    """Whether the very rows that were pushed come out again, only in other batches.

    Where False, pushed rows are ``absorbed`` and what comes out is a source of its own.
    """

    def start(self, cx: Context) -> Window | Tap:
        """Start one."""
        raise NotImplementedError


class Sink(Spec, frozen=True, kw_only=True):
    """Where rows go. The engine re-batches, retries, limits and breaks for it."""

    durability: ClassVar[str] = "unknown"
    """What holds once Write has returned (rule 23).

    One of ``best-effort``, ``receiver-accepted``, ``process-crash-safe``,
    ``power-loss-safe`` and ``unknown``.
    """

    max_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 8192
    max_bytes: Positive = 4 << 20
    max_age_s: Seconds = 0.05
    when: When | None = None
    on_full: OnFull | None = None
    channel: Bounds = Bounds()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    rate: Rate = Rate()
    concurrency: Positive = 1

    def open(self, cx: Context) -> AbstractAsyncContextManager[Write]:
        """Open it; a Write is called by at most ``concurrency`` tasks at a time."""
        raise NotImplementedError
