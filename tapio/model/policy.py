"""What an operator may decide about a sink or a channel: bounds, retry, breaker, rate."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
OnFull: TypeAlias = Literal["block", "drop_oldest", "drop_newest", "spool"]
"""What a full channel does (rule 14)."""


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings inside a stage's own."""


class Bounds(Policy, frozen=True):
    """How much a channel holds: it is full when either is reached."""

    rows: Positive = 262_144
    bytes: Positive = 64 << 20


class Retry(Policy, frozen=True):
    """Waits between attempts: full jitter over a bound that doubles from initial_s to max_s."""

    initial_s: Seconds = 0.5
    max_s: Seconds = 30.0


class Breaker(Policy, frozen=True):
    """When a sink's circuit opens: ``failures`` in a row, or ``ratio`` of the last ``window``."""

    failures: Positive = 5
    ratio: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    window: Positive = 20
    reopen_s: Seconds = 5.0


class Rate(Policy, frozen=True):
    """The most that a sink is given a second; 0 = no limit."""

    rows_per_s: Annotated[float, msgspec.Meta(ge=0)] = 0
    bytes_per_s: Annotated[float, msgspec.Meta(ge=0)] = 0


class Memory(Policy, frozen=True):
    """Bytes of batch buffers: above ``soft`` sources stop reading, above ``hard`` rows drop."""

    soft: Positive = 96 << 20
    hard: Positive = 128 << 20


class Parking(Policy, frozen=True):
    """How many rows may wait for a Lookup's answer, and how long."""

    rows: Positive = 65_536
    age_s: Seconds = 10.0


class DeadLetters(Policy, frozen=True):
    """Where rows go that will never be taken; ``path`` is by default below the state folder."""

    path: str = ""
    max_bytes: Positive = 256 << 20


class Settings(Policy, frozen=True):
    """What holds for a whole pipeline; the ``settings:`` of a config file.

    ``host_root`` is ``/`` or a read-only mount of the host's /proc and cgroup tree;
    ``state_dir`` is by default ``$XDG_STATE_HOME/tapio``. ``resource`` adds OpenTelemetry
    resource attributes. ``fuse`` off puts each stage in a task of its own.
    """

    channel: Bounds = Bounds()
    memory: Memory = Memory()
    parking: Parking = Parking()
    dead_letters: DeadLetters = DeadLetters()
    stop_s: Seconds = 5.0
    drain_s: Seconds = 20.0
    fuse: bool = True
    host_root: str = "/"
    state_dir: str = ""
    resource: dict[str, str] = msgspec.field(default_factory=dict)
