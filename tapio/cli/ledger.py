"""The ledger as a page of text: both sides of rules 2 and 3, for the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tapio.cli.figures import sinks
from tapio.cli.terminal import escaped

IN_TRUNK, IN_BRANCH = ("taken",), ("passed", "recovered")
OUT_TRUNK = (
    *("filtered", "sampled_out", "absorbed", "dropped"),
    *("dead_lettered", "returned", "held", "passed"),
)
OUT_BRANCH = ("skipped", "delivered", "refused", "dead_lettered", "dropped", "returned", "held")

NAME, GAP = 16, 2
"""Columns of the first column (``+ dead_lettered``), and between two."""


def page(status: Mapping[str, Any], width: int) -> Iterator[str]:
    """The lines of the ledger, at most ``width`` (>= 40) columns wide.

    Accounts stand below each other, sources and sinks side by side; what has no room beside
    comes below.
    """
    trunk = [((label,), account) for label, account in status["sources"].items()]
    branch = [
        ((sink, f"< {source}"), account)
        for sink, said in sinks(status).items()
        for source, account in said["sources"].items()
    ]
    yield f"ledger of {escaped(status['pipeline'])}, in rows"
    yield from _tables("source", trunk, IN_TRUNK, OUT_TRUNK, width)
    yield from _tables("sink", branch, IN_BRANCH, OUT_BRANCH, width)
    yield f"imbalance {status['imbalance']}"
    for sink, said in sinks(status).items():
        yield f"sink {escaped(sink)}: {said['durability']}{_trouble(said)}"


def _trouble(sink: Mapping[str, Any]) -> str:
    text = f", {sink['retries']:,} retries" if sink["retries"] else ""
    if sink["breaker"]["state"] != "closed":
        text += f", circuit {sink['breaker']['state']}"
    if sink["last_error"] and (text or any(a["dropped"] for a in sink["sources"].values())):
        text += f", last error: {escaped(sink['last_error'])}"
    return text


def _tables(
    title: str,
    columns: Sequence[tuple[tuple[str, ...], Mapping[str, Any]]],
    left: Sequence[str],
    right: Sequence[str],
    width: int,
) -> Iterator[str]:
    """The columns, as many beside each other as ``width`` has room for."""
    rest = [_column(head, account, left, right) for head, account in columns]
    while rest:
        room, beside = width - NAME, 0
        while beside < len(rest) and (beside == 0 or room >= GAP + len(rest[beside][0])):
            room -= GAP + len(rest[beside][0])
            beside += 1
        names = _names(title, rest[0], left, right)
        for line in zip(names, *rest[:beside], strict=True):
            yield (f"{line[0]:<{NAME}}" + "".join(" " * GAP + cell for cell in line[1:])).rstrip()
        yield ""
        rest = rest[beside:]
    yield from _drops(columns)


def _names(
    title: str, column: Sequence[str], left: Sequence[str], right: Sequence[str]
) -> list[str]:
    heads = len(column) - len(left) - len(right) - 1
    signs = ["  ", *["+ "] * (len(left) - 1), "= ", *["+ "] * (len(right) - 1)]
    accounts = [sign + name for sign, name in zip(signs, (*left, *right), strict=True)]
    return [*[title, ""][:heads], *accounts, "  imbalance"]


def _column(
    head: Sequence[str], account: Mapping[str, Any], left: Sequence[str], right: Sequence[str]
) -> list[str]:
    """The cells of one source, or of one source at one sink, flush right."""
    rows = [account[n] if n != "dropped" else sum(account[n].values()) for n in (*left, *right)]
    cells = [*(_cut(escaped(h)) for h in head), *(f"{n:,}" for n in (*rows, account["imbalance"]))]
    wide = max(map(len, cells))
    return [f"{cell:>{wide}}" for cell in cells]


def _cut(text: str) -> str:
    return text if len(text) <= 20 else text[:18] + ".."


def _drops(columns: Sequence[tuple[tuple[str, ...], Mapping[str, Any]]]) -> Iterator[str]:
    """Why rows were dropped, where some were."""
    for head, account in columns:
        for reason, rows in account["dropped"].items():
            if rows:
                yield f"dropped {rows:,} of {escaped(' '.join(head))}: {escaped(reason)}"
