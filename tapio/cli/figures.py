"""Figures of a run for people: sums of ``status()``, rates, and numbers in few characters."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

SPAN_S = 5.0
"""Rates are means over this long: short enough to see a change, long enough to be read."""

TERMINAL = "tapio-terminal"
"""Label of the sink that feeds the display; the display leaves it out."""


class Totals(NamedTuple):
    """Rows of a whole pipeline."""

    taken: int
    delivered: int
    held: int
    lost: int
    dead_lettered: int
    returned: int


def totals(status: Mapping[str, Any]) -> Totals:
    """The sums over all sources and sinks, the display's own sink aside."""
    trunk = list(status["sources"].values())
    branch = [a for sink in sinks(status).values() for a in sink["sources"].values()]
    both = [*trunk, *branch]
    return Totals(
        taken=_sum(trunk, "taken"),
        delivered=_sum(branch, "delivered"),
        held=_sum(both, "held"),
        lost=sum(map(lost, both)),
        dead_lettered=_sum(both, "dead_lettered"),
        returned=_sum(both, "returned"),
    )


def sinks(status: Mapping[str, Any]) -> dict[str, Any]:
    """The sinks that the pipeline names."""
    return {label: said for label, said in status["sinks"].items() if label != TERMINAL}


def lost(account: Mapping[str, Any]) -> int:
    """Rows of one account that were dropped, or refused by count."""
    return int(sum(account["dropped"].values()) + account.get("refused", 0))


def over(sink: Mapping[str, Any], account: str) -> int:
    """Rows of ``account``, or ``lost``, over all sources of one sink."""
    accounts: Collection[Mapping[str, Any]] = sink["sources"].values()
    return sum(map(lost, accounts)) if account == "lost" else _sum(accounts, account)


def _sum(accounts: Collection[Mapping[str, Any]], name: str) -> int:
    return sum(int(account[name]) for account in accounts)


class Rates:
    """Turns counters that are looked at now and then into rates; at time 0 all were 0."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque([(0.0, {})])

    def look(self, now: float, counts: Mapping[str, int]) -> dict[str, float]:
        """What each of ``counts`` grew by in a second, over the last ``SPAN_S``."""
        self._seen.append((now, counts))
        while len(self._seen) > 2 and now - self._seen[1][0] >= SPAN_S:
            self._seen.popleft()
        then, before = self._seen[0]
        took = now - then
        return {n: (c - before.get(n, 0)) / took if took else 0.0 for n, c in counts.items()}


def short(number: float) -> str:
    """``number`` in at most five characters: 0.4, 999, 12.3k, 4.5M."""
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5:
            whole = number >= 99.95 or (not unit and (number >= 9.95 or number == int(number)))
            return f"{number:.0f}{unit}" if whole else f"{number:.1f}{unit}"
        number /= 1e3
    return f"{number:.0f}P"


def size(count: float) -> str:
    """Bytes in MiB."""
    return f"{count / (1 << 20):.1f} MiB"


def duration(seconds: float) -> str:
    """``seconds`` in the unit that suits: 3.1 ms, 2.5 s, 4 m 10 s, 3 h 2 m."""
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} m {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} m"
