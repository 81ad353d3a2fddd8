"""A ``status()`` as an engine gives it, with what a test wants to be different."""

from __future__ import annotations

from typing import Any


def source(**said: Any) -> dict[str, Any]:
    """A source's account, balanced: what is not said has ``passed``."""
    account = {
        "taken": 0,
        "filtered": 0,
        "sampled_out": 0,
        "absorbed": 0,
        "dropped": {},
        "dead_lettered": 0,
        "returned": 0,
        "held": 0,
        "imbalance": 0,
    } | said
    ways = ("filtered", "sampled_out", "absorbed", "dead_lettered", "returned", "held")
    gone = sum(account[way] for way in ways) + sum(account["dropped"].values())
    return {"passed": account["taken"] - gone} | account


def branch(**said: Any) -> dict[str, Any]:
    """A source's account at a sink, balanced: what is not said was ``delivered``."""
    account = {
        "passed": 0,
        "recovered": 0,
        "skipped": 0,
        "refused": 0,
        "dead_lettered": 0,
        "dropped": {},
        "returned": 0,
        "held": 0,
        "imbalance": 0,
    } | said
    ways = ("skipped", "refused", "dead_lettered", "returned", "held")
    gone = sum(account[way] for way in ways) + sum(account["dropped"].values())
    return {"delivered": account["passed"] + account["recovered"] - gone} | account


def sink(sources: dict[str, Any], **said: Any) -> dict[str, Any]:
    """A sink that works."""
    return {
        "durability": "best-effort",
        "breaker": {"state": "closed", "why": "", "opened": 0},
        "channel": {
            "rows": 0,
            "bytes": 0,
            "max_rows": 262_144,
            "max_bytes": 64 << 20,
            "on_full": "drop_oldest",
        },
        "retries": 0,
        "last_error": "",
        "latency_s": {"p50": 0.01, "p99": 0.1, "count": 10},
        "sources": sources,
    } | said


def status(**said: Any) -> dict[str, Any]:
    """One source, two sinks: a file that works, and a collector that is away."""
    return {
        "pipeline": "node",
        "state": "running",
        "uptime_s": 12.0,
        "loop": "uvloop",
        "memory": {"bytes": 3 << 20, "soft": 96 << 20, "hard": 128 << 20},
        "pressure": 0.03,
        "imbalance": 0,
        "sources": {"process": source(taken=1_200, sampled_out=200)},
        "sinks": {
            "file": sink({"process": branch(passed=1_000)}, durability="process-crash-safe"),
            "otlp": sink(
                {"process": branch(passed=1_000, held=900, dropped={"drop_oldest": 100})},
                breaker={"state": "open", "why": "connection refused", "opened": 3},
                retries=17,
                last_error="connection refused",
                latency_s={"p50": 0.0, "p99": 0.0, "count": 0},
            ),
        },
        "stages": {"adaptive": {"rows_in": 1_200, "rows_out": 1_000}},
    } | said
