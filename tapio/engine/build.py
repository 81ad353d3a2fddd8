"""Opens a plan's stages and puts the engine's parts together: sinks, then steps, then sources."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

from tapio.engine.branch import Branch, Desk
from tapio.engine.cells import Cell, Morgue, TransformCell
from tapio.engine.channel import Channel
from tapio.engine.ledger import Ledger
from tapio.engine.parcel import Parcel
from tapio.engine.parking import LookupCell
from tapio.engine.pump import Forward, Segment
from tapio.engine.reader import Reader, Way
from tapio.engine.windows import WindowCell
from tapio.model.plan import Plan, Stage, labels
from tapio.model.stage import (
    Batching,
    Context,
    Enrich,
    Lookup,
    Sample,
    Snapshot,
    Stateful,
    Transform,
)
from tapio.model.ticket import Outcome


@dataclass(frozen=True, slots=True)
class Site:
    """What building needs: the plan, where what is opened is closed again, and the ledger."""

    plan: Plan
    stack: AsyncExitStack
    context: Callable[[str], Context]
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Trunk:
    """The trunk, built: its segments in order, and the stages that keep state over restarts."""

    segments: list[Segment]
    snapshots: dict[str, Snapshot]


async def branches(site: Site, desk: Desk) -> list[Branch]:
    """Open the sinks."""
    plan, opened = site.plan, []
    for label, spec in zip(labels(plan.sinks), plan.sinks, strict=True):
        write = await site.stack.enter_async_context(spec.open(site.context(label)))
        opened.append(Branch(label, spec, write, plan.on_full(spec), desk))
    return opened


async def readers(site: Site, way: Way) -> list[Reader]:
    """Open the sources."""
    opened = []
    for label, spec in zip(labels(site.plan.sources), site.plan.sources, strict=True):
        read = await site.stack.enter_async_context(spec.open(site.context(label)))
        opened.append(Reader(label, read, way, replayable=type(spec).replayable))
    return opened


async def trunk(site: Site, forward: Forward) -> Trunk:
    """Open the steps; one segment where they are fused, else one a stage."""
    plan = site.plan
    snapshots: dict[str, Snapshot] = {}
    morgues = [Morgue()] if plan.settings.fuse else [Morgue() for _ in plan.trunk] or [Morgue()]
    cells: list[Cell] = []
    for index, label in enumerate(labels(plan.trunk)):
        morgue = morgues[0 if plan.settings.fuse else index]
        live = await _start(site, plan.trunk[index], label)
        cells.append(_cell(site, index, label, live, morgue))
        state: object = live  # any live stage may keep one
        if isinstance(state, Snapshot):
            snapshots[label] = state
    groups = [cells] if plan.settings.fuse or not cells else [[cell] for cell in cells]
    segments: list[Segment] = []
    first = len(cells)
    for group, morgue in zip(reversed(groups), reversed(morgues), strict=True):
        first -= len(group)
        inbox = Channel(plan.settings.channel, "block", _inbox_drop(site.ledger))
        segments.insert(0, Segment(group, first, inbox, forward, morgue))
        forward = _into(inbox)
    return Trunk(segments, snapshots)


async def _start(site: Site, stage: Stage, label: str) -> Transform | Stateful | Lookup | None:
    """The live stage; None for a Batching, of which each (source, topic) gets its own."""
    if isinstance(stage, Batching):
        return None
    if isinstance(stage, Enrich):
        return await site.stack.enter_async_context(stage.open(site.context(label)))
    return stage.start(site.context(label))


def _cell(
    site: Site, index: int, label: str, live: Transform | Stateful | Lookup | None, morgue: Morgue
) -> Cell:
    stage = site.plan.trunk[index]
    if isinstance(stage, Batching):
        return WindowCell(
            label,
            lambda: stage.start(site.context(label)),
            site.ledger,
            morgue,
            regroups=type(stage).regroups,
            behind=index + 1,
            behind_samplers=_behind_samplers(site.plan, index),
        )
    assert live is not None
    if isinstance(live, Lookup):
        return LookupCell(label, live, site.plan.settings.parking, morgue)
    removed: Literal["sampled_out", "filtered"] = "filtered"
    if isinstance(stage, Sample):
        removed = "sampled_out"
    return TransformCell(label, live, removed, site.ledger, morgue)


def _behind_samplers(plan: Plan, index: int) -> int:
    """Where the rows of a Tap at ``index`` enter: its sums are exact, and stay so."""
    later = [i for i, s in enumerate(plan.trunk) if i > index and isinstance(s, Sample)]
    return later[-1] + 1 if later else index + 1


def _inbox_drop(ledger: Ledger) -> Callable[[Parcel, str], None]:
    def drop(parcel: Parcel, reason: str) -> None:
        ledger.trunk[parcel.source].dropped[f"inbox/{reason}"] += parcel.rows
        parcel.ticket.settle(Outcome.DONE)

    return drop


def _into(inbox: Channel) -> Forward:
    def forward(parcel: Parcel) -> list[asyncio.Future[None]]:
        room = inbox.offer(parcel)
        return [] if room is None else [room]

    return forward
