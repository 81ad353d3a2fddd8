"""Tickets: who must still answer for rows that a source has handed out.

Rule 8: a ticket settles once, DONE or RETRY. One RETRY among forks or joins makes RETRY.
Settling twice is an AssertionError; a ticket that is collected unsettled warns.
"""

from __future__ import annotations

import enum
import warnings
from collections.abc import Callable, Sequence


class Outcome(enum.IntEnum):
    """How a delivery ended; the worst wins, so ``max`` joins two."""

    DONE = 0
    """Each row was delivered, durably dead-lettered, or removed by a named and counted rule."""
    RETRY = 1
    """Anything else."""


class Ticket:
    """One obligation. The holder settles it, or forks it and settles nothing itself."""

    __slots__ = ("_on_settle", "_spent")

    def __init__(self, on_settle: Callable[[Outcome], None] | None = None) -> None:
        self._on_settle = on_settle
        self._spent = False

    @property
    def spent(self) -> bool:
        """Whether it has been settled or forked."""
        return self._spent

    def settle(self, outcome: Outcome) -> None:
        """Answer for the rows: once, synchronously."""
        self._spend()
        if self._on_settle is not None:
            self._on_settle(outcome)

    def fork(self, holders: int) -> list[Ticket]:
        """``holders`` (≥ 1) tickets; when the last has settled, this one settles with the worst."""
        if holders < 1:
            raise ValueError("a ticket is forked to at least one holder")
        self._spend()
        told = self._on_settle
        if isinstance(told, _Tally):  # a fork's forks are its siblings: no chain of calls grows
            told.add(holders - 1)
        elif holders > 1:
            told = _Tally(holders, told)
        return [Ticket(told) for _ in range(holders)]

    @staticmethod
    def join(tickets: Sequence[Ticket]) -> Ticket:
        """One ticket for all of ``tickets``, which settle as it settles."""
        if len(tickets) == 1:
            return tickets[0].fork(1)[0]
        joined = _Joined()
        for ticket in tickets:
            ticket._spend()
            joined.add(ticket._on_settle)
        return Ticket(joined)

    def _spend(self) -> None:
        assert not self._spent, "a ticket settles once"
        self._spent = True

    def __del__(self) -> None:
        if not self._spent:
            warnings.warn("a ticket was never settled", ResourceWarning, stacklevel=2)


class _Joined:
    """Tells all of the tickets that were joined; joins of joins are one list, not a chain."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: list[Callable[[Outcome], None]] = []

    def add(self, on_settle: Callable[[Outcome], None] | None) -> None:
        """Tell this one too."""
        if isinstance(on_settle, _Joined):
            self._told += on_settle._told
        elif on_settle is not None:
            self._told.append(on_settle)

    def __call__(self, outcome: Outcome) -> None:
        for told in self._told:
            told(outcome)


class _Tally:
    """Counts the forks of a ticket down and remembers the worst."""

    __slots__ = ("_left", "_on_settle", "_worst")

    def __init__(self, holders: int, on_settle: Callable[[Outcome], None] | None) -> None:
        self._left = holders
        self._on_settle = on_settle
        self._worst = Outcome.DONE

    def add(self, forks: int) -> None:
        """Wait for so many more."""
        self._left += forks

    def __call__(self, outcome: Outcome) -> None:
        self._left -= 1
        self._worst = max(self._worst, outcome)
        if self._left == 0 and self._on_settle is not None:
            self._on_settle(self._worst)
