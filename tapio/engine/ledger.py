"""The ledger: where each row went, in integers (rules 1 to 3).

A move is one synchronous call on an account, so what is read between awaits balances exactly.
``held`` is never kept here: it is found by looking (rule 4).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tapio.engine.parcel import Leftover
from tapio.model.ticket import Outcome


@dataclass(slots=True)
class Account:
    """What trunk and branch accounts have in common: the ways a row can leave badly."""

    passed: int = 0
    dead_lettered: int = 0
    returned: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def lost(self) -> int:
        """Rows that went one of the ways above, ``passed`` apart."""
        return self.dead_lettered + self.returned + self.dropped.total()

    def give_back(self, left: Leftover, reason: str) -> None:
        """End rows that could not be finished (rule 9): returned, or dropped for ``reason``."""
        if left.replayable:
            self.returned += left.rows
        else:
            self.dropped[reason] += left.rows
        left.ticket.settle(Outcome.RETRY)


@dataclass(slots=True)
class TrunkAccount(Account):
    """One source's rows, from its read to the branches (rule 2)."""

    taken: int = 0
    filtered: int = 0
    sampled_out: int = 0
    absorbed: int = 0

    def imbalance(self, held: int) -> int:
        """Rows that one side of rule 2 has more than the other."""
        gone = self.filtered + self.sampled_out + self.absorbed + self.lost()
        return self.taken - gone - self.passed - held


@dataclass(slots=True)
class BranchAccount(Account):
    """One source's rows on the way to one sink (rule 3)."""

    recovered: int = 0
    skipped: int = 0
    delivered: int = 0
    refused: int = 0

    def imbalance(self, held: int) -> int:
        """Rows that one side of rule 3 has more than the other."""
        gone = self.skipped + self.delivered + self.refused + self.lost()
        return self.passed + self.recovered - gone - held


class Ledger:
    """The accounts of a pipeline: ``trunk`` by source, ``branch`` by (sink, source)."""

    def __init__(self) -> None:
        self.trunk: defaultdict[str, TrunkAccount] = defaultdict(TrunkAccount)
        self.branch: defaultdict[tuple[str, str], BranchAccount] = defaultdict(BranchAccount)

    def open(self, sources: Iterable[str], sinks: Iterable[str]) -> None:
        """Let the accounts of a plan stand at 0 from the start: a first failure is an increase."""
        labels = tuple(sinks)
        for source in sources:
            _ = self.trunk[source]
            for sink in labels:
                _ = self.branch[sink, source]


def as_dict(account: TrunkAccount | BranchAccount, held: int) -> dict[str, Any]:
    """Both sides of the account's equation, for ``/status``."""
    names = [*Account.__slots__, *type(account).__slots__]
    said: dict[str, Any] = {name: getattr(account, name) for name in names}
    said["dropped"] = dict(account.dropped)
    return said | {"held": held, "imbalance": account.imbalance(held)}
