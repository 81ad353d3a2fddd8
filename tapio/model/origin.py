"""Where rows come from, and the sequence that tells them apart (rule 16)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Origin:
    """A row is (node, boot id, agent epoch, topic, sequence), once and for ever.

    ``epoch`` is 64 random bits drawn when the process starts, as 16 hex digits.
    """

    node: str
    boot_id: str
    epoch: str


@dataclass(slots=True)
class Sequences:
    """The next sequence number of each topic, shared by all sources of a pipeline."""

    _next: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def take(self, topic: str, rows: int) -> int:
        """The first of ``rows`` consecutive numbers, given to nobody else."""
        first = self._next[topic]
        self._next[topic] = first + rows
        return first
