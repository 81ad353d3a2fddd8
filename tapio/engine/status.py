"""What ``/status``, the metrics and the live table read: one dictionary, no side effects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tapio.engine.branch import Branch
from tapio.engine.ledger import Ledger, as_dict
from tapio.engine.limits import MemoryGauge
from tapio.engine.parcel import Holder
from tapio.engine.pump import Segment
from tapio.model.stage import Sink


def held(holders: Iterable[Holder]) -> Counter[str]:
    """Rows by source that are in ``holders``, found by looking (rule 4)."""
    rows: Counter[str] = Counter()
    for holder in holders:
        for source, count in holder.held():
            rows[source] += count
    return rows


def sources(ledger: Ledger, trunk: Iterable[Holder]) -> dict[str, Any]:
    """Rule 2, both sides, by source."""
    rows = held(trunk)
    return {label: as_dict(account, rows[label]) for label, account in list(ledger.trunk.items())}


def sink(ledger: Ledger, branch: Branch) -> dict[str, Any]:
    """Rule 3, both sides, by source, and the state of one sink."""
    rows = held([branch])
    channel, circuit, said = branch.channel, branch.circuit, branch.said
    accounts = {s: a for (label, s), a in list(ledger.branch.items()) if label == branch.label}
    return {
        "durability": _durability(branch.spec),
        "breaker": {"state": circuit.state, "why": circuit.why, "opened": circuit.opened},
        "channel": {
            "rows": channel.rows,
            "bytes": channel.size,
            "max_rows": channel.bounds.rows,
            "max_bytes": channel.bounds.bytes,
            "on_full": channel.on_full,
        },
        "retries": said.retries,
        "last_error": said.last_error,
        "latency_s": {
            "p50": said.latency.quantile(0.5),
            "p99": said.latency.quantile(0.99),
            "count": said.latency.count,
        },
        "sources": {s: as_dict(a, rows[s]) for s, a in accounts.items()},
    }


def stages(segments: Iterable[Segment]) -> dict[str, Any]:
    """Rows in and out of each trunk stage."""
    cells = [cell for segment in segments for cell in segment.cells]
    return {c.label: {"rows_in": c.rows_in, "rows_out": c.rows_out} for c in cells}


def memory(gauge: MemoryGauge) -> dict[str, int]:
    """Bytes of batch buffers and their limits."""
    return {"bytes": gauge.bytes, "soft": gauge.policy.soft, "hard": gauge.policy.hard}


def imbalance(status: dict[str, Any]) -> int:
    """The sum of what does not balance, anywhere; 0 (rule 1)."""
    accounts = list(status["sources"].values())
    for one in status["sinks"].values():
        accounts += one["sources"].values()
    return sum(abs(account["imbalance"]) for account in accounts)


def _durability(spec: Sink) -> str:
    """Rule 23; without a spool or a replayable stream the sink is the first durable point."""
    return type(spec).durability
