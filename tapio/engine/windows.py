"""``WindowCell``: runs a Batching stage, one Window a (source, topic) (rule 10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from tapio.engine.cells import Dead, Instant, Morgue
from tapio.engine.ledger import Ledger
from tapio.engine.parcel import Leftover, Parcel, urgent
from tapio.model.batch import Batch
from tapio.model.errors import ContractError
from tapio.model.stage import Tap, Window
from tapio.model.ticket import Outcome, Ticket

T = TypeVar("T")
Key = tuple[str, bool, str]
"""(source, replayable, topic): what another stage made may be of both kinds."""


@dataclass(slots=True)
class _Pane:
    """One Window and what was pushed into it since its last flush."""

    window: Window
    source: str
    replayable: bool
    rows: int = 0
    tickets: list[Ticket] = field(default_factory=list)
    deadline: float | None = None
    urgent: bool = False


class WindowCell:
    """Flushes each Window when it is full, when its time has come, and at the end.

    All tickets pushed since a Window's last flush settle with the worst of that flush. Rows
    that come out of a Window that does not merely regroup are a source of their own, named
    after the stage (rule 5). Rows go on at trunk index ``behind``, a Tap's own rows at
    ``behind_samplers``.
    """

    def __init__(
        self,
        label: str,
        start: Callable[[], Window],
        ledger: Ledger,
        morgue: Morgue,
        *,
        regroups: bool,
        behind: int,
        behind_samplers: int,
    ) -> None:
        self.label = label
        self.rows_in = self.rows_out = 0
        self._start = start
        self._ledger = ledger
        self._morgue = morgue
        self._regroups = regroups
        self._behind = behind
        self._behind_samplers = behind_samplers
        self._taps = False
        self._panes: dict[Key, _Pane] = {}

    def push(self, parcel: Parcel, now: Instant) -> list[Parcel]:
        """Take ``parcel``; what a full Window gives, and for a Tap the parcel itself."""
        key = (parcel.source, parcel.replayable, parcel.batch.topic)
        self.rows_in += parcel.rows
        full = self._guard(key, lambda: self._push(key, parcel, now))
        if full is None:
            if not self._taps:
                self._morgue.dead.append(Dead(parcel, self.label, "the stage failed on this batch"))
            return [parcel] if self._taps else []
        pane = self._panes[key]
        if not self._taps:
            pane.rows += parcel.rows
            pane.tickets.append(parcel.ticket)
            pane.urgent |= parcel.urgent
        if pane.deadline is None:
            pane.deadline = now.s + pane.window.hold_s
        out = self._flush(key, now) if full or (parcel.urgent and not self._taps) else []
        return [*out, parcel] if self._taps else out

    def due(self) -> float | None:
        """The nearest deadline of a Window."""
        return min(
            (p.deadline for p in self._panes.values() if p.deadline is not None), default=None
        )

    def tick(self, now: Instant) -> list[Parcel]:
        """What Windows give whose time has come."""
        return self._flush_where(now, lambda p: p.deadline is not None and p.deadline <= now.s)

    def drain(self, now: Instant) -> list[Parcel]:
        """What all Windows still hold."""
        return self._flush_where(now, lambda p: p.deadline is not None)

    def held(self) -> Iterator[tuple[str, int]]:
        """(source, rows) in each Window, as the Window itself counts them."""
        if not self._taps:
            for pane in self._panes.values():
                yield pane.source, pane.window.held()

    def batches(self) -> Iterator[Batch]:
        """The batches that Windows show; one that shows none is not charged for."""
        for pane in self._panes.values():
            yield from getattr(pane.window, "batches", tuple)()

    def sweep(self) -> Iterator[Leftover]:
        """Give up what the Windows hold."""
        panes, self._panes = self._panes, {}
        for pane in panes.values():
            if pane.tickets:
                ticket = Ticket.join(pane.tickets)
                yield Leftover(pane.source, pane.rows, ticket, pane.replayable)

    def _flush_where(self, now: Instant, choose: Callable[[_Pane], bool]) -> list[Parcel]:
        chosen = [key for key, pane in self._panes.items() if choose(pane)]
        return [parcel for key in chosen for parcel in self._flush(key, now)]

    def _push(self, key: Key, parcel: Parcel, now: Instant) -> bool:
        """Push to the Window of ``key``, started at its first batch."""
        pane = self._panes.get(key)
        if pane is None:
            window = self._start()
            self._taps = isinstance(window, Tap)
            pane = self._panes[key] = _Pane(window, parcel.source, parcel.replayable)
        return bool(pane.window.push(parcel.batch, now.ns))

    def _flush(self, key: Key, now: Instant) -> list[Parcel]:
        pane = self._panes[key]
        batches = self._guard(key, lambda: self._collect(pane, now))
        if batches is None:
            return []
        tickets, rows, hot = pane.tickets, pane.rows, pane.urgent
        pane.tickets, pane.rows, pane.deadline, pane.urgent = [], 0, None, False
        self.rows_out += sum(b.rows for b in batches)
        if isinstance(pane.window, Tap):
            made = [self._made(pane.window.emits, b, Ticket(), replayable=False) for b in batches]
            for parcel in made:
                parcel.at = self._behind_samplers
            return made
        shares = _share(tickets, len(batches))
        if self._regroups:
            at = self._behind
            return [
                Parcel(b, t, pane.source, pane.replayable, hot and urgent(b), at)
                for b, t in zip(batches, shares, strict=True)
            ]
        self._ledger.trunk[pane.source].absorbed += rows
        return [
            self._made(self.label, b, t, replayable=pane.replayable)
            for b, t in zip(batches, shares, strict=True)
        ]

    def _collect(self, pane: _Pane, now: Instant) -> list[Batch]:
        """Flush, held to the contract: all is given, and by a stage that regroups the very rows."""
        batches = [b for b in pane.window.flush(now.ns) if b.rows]
        rows = sum(b.rows for b in batches)
        if self._regroups and rows != pane.rows:
            raise ContractError(f"stage {self.label} took {pane.rows} rows and gave {rows}")
        if not self._taps and (kept := pane.window.held()):
            raise ContractError(f"stage {self.label} kept {kept} rows back at a flush")
        return batches

    def _made(self, source: str, batch: Batch, ticket: Ticket, *, replayable: bool) -> Parcel:
        """Rows that the stage made: taken from a source of its own."""
        self._ledger.trunk[source].taken += batch.rows
        return Parcel(batch, ticket, source, replayable, urgent(batch), self._behind)

    def _guard(self, key: Key, call: Callable[[], T]) -> T | None:
        """``call()``; where it fails, the Window and what it held are given up (rule 21)."""
        try:
            result = call()
        except Exception as error:
            self._morgue.fault(self.label, error)
            if pane := self._panes.pop(key, None):
                self._ledger.trunk[pane.source].dropped[f"{self.label}/stage_error"] += pane.rows
                for ticket in pane.tickets:
                    ticket.settle(Outcome.DONE)
            return None
        self._morgue.healthy(self.label)
        return result


def _share(tickets: list[Ticket], batches: int) -> list[Ticket]:
    """A ticket for each batch of a flush; where there is none, all that was pushed is done."""
    joined = Ticket.join(tickets)
    if batches:
        return joined.fork(batches)
    joined.settle(Outcome.DONE)
    return []
