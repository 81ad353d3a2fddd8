"""Looks into the engine between two awaits and compares it with the books, rule by rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from tapio.engine.run import Engine
from tapio.engine.windows import WindowCell
from tapio.model.batch import Batch
from tests.sim.books import NAMES, Books, Uids, Way
from tests.sim.world import World

Counts = npt.NDArray[np.int64]
NO_ROWS: Uids = np.zeros(0, np.int64)
ENDS = ("unreplayable", "drain_deadline")
"""Why rows are dropped that were still on their way when the run ended."""


def observe(world: World, engine: Engine, *, ended: bool = False) -> None:
    """Compare the engine with the books; ``ended`` says that the run is over."""
    books = world.books
    trunk = _found_on_trunk(world, engine)
    _trunk_rows(books, trunk, ended=ended)
    branches = [_uids(branch.batches()) for branch in engine._flow.branches]
    for at, found in enumerate(branches):
        _branch_rows(books, at, found, ended=ended)
        peak = books.peaks[at]
        peak.rows, peak.hot = books.outstanding[at], books.hot[at]
    for drain in world.drains:
        drain.referee.look()
    for asking in world.askings:
        asking.look_at_room()
    status = engine.status()
    if status["imbalance"]:
        books.fault("rule 1: imbalance", str(status["imbalance"]))
    _trunk_accounts(books, status, _by_source(books, trunk), ended=ended)
    for at, found in enumerate(branches):
        said = status["sinks"].get(books.sinks[at].label)
        _branch_accounts(books, at, said, _by_source(books, found), ended=ended)


def _found_on_trunk(world: World, engine: Engine) -> Uids:
    """The rows in segments and Windows, found without asking ``held``."""
    batches: list[Batch] = []
    for segment in engine._flow.segments:
        batches += segment.inbox.batches()
        batches += [parcel.batch for parcel in segment.hands]
        batches += segment.morgue.batches()
        for cell in segment.cells:
            if not isinstance(cell, WindowCell):
                batches += cell.batches()
    for stage in world.windows:
        for pane in stage.panes:
            if not pane.dead and not hasattr(pane, "emits"):
                batches += pane.got
                hot = any((b["severity"] >= 17).any() for b in pane.got)
                if hot:
                    world.books.fault("rule 10: urgent rows flush their Window", stage.name)
    return _uids(batches)


def _uids(batches: Iterable[Batch]) -> Uids:
    return np.concatenate([NO_ROWS, *(b["uid"] for b in batches)])


def _by_source(books: Books, uids: Uids) -> Counts:
    return np.bincount(books.source[uids], minlength=len(books.sources))


def _trunk_rows(books: Books, found: Uids, *, ended: bool) -> None:
    """Rule 1: each row that is not accounted for is found, once, and no other."""
    times = np.bincount(found, minlength=books.rows)[books.first : books.rows]
    ways = books.trunk[books.first : books.rows]
    if (times > 1).any():
        books.fault("rule 1", "a row is in two places on the trunk")
    if (times[ways != Way.OPEN] > 0).any():
        name = NAMES[ways[(times > 0) & (ways != Way.OPEN)][0]]
        books.fault("rule 1", f"a row that is {name} is still on the trunk")
    missing = books.first + np.flatnonzero((times == 0) & (ways == Way.OPEN))
    if len(missing) and not ended:
        books.gone(missing, "are nowhere on the trunk")


def _branch_rows(books: Books, at: int, found: Uids, *, ended: bool) -> None:
    """Rule 1, for a sink."""
    label = books.sinks[at].label
    times = np.bincount(found, minlength=books.rows)[books.first : books.rows]
    ways = books.ways[at, books.first : books.rows]
    if (times > 1).any():
        books.fault("rule 1", f"a row is twice on the way to {label}")
    if (times[ways != Way.OPEN] > 0).any():
        name = NAMES[ways[(times > 0) & (ways != Way.OPEN)][0]]
        books.fault("rule 1", f"a row that is {name} is still on the way to {label}")
    missing = books.first + np.flatnonzero((times == 0) & (ways == Way.OPEN))
    if len(missing) and not ended:
        for source in np.unique(books.source[missing]):
            here = missing[books.source[missing] == source]
            books.gone_from(at, here, "are nowhere on the way")


def _trunk_accounts(books: Books, status: Any, found: Counts, *, ended: bool) -> None:
    """Rule 2, term by term and by source, against the books."""
    first = books.source[books.first : books.rows]
    taken = np.bincount(first, minlength=len(books.sources))
    ways = {way: books.count(way) for way in (*TRUNK_WAYS.values(), Way.GONE, Way.OPEN)}
    for source, label in enumerate(books.sources):
        account = status["sources"].get(label)
        if account is None:
            if taken[source]:
                books.fault("rule 2", f"source {label} has no account")
            continue
        expected = {name: int(ways[way][source]) for name, way in TRUNK_WAYS.items()}
        expected |= {"taken": int(taken[source]), "held": 0 if ended else int(found[source])}
        _compare(books, f"rule 2: {label}", account, expected)
        dropped = Counter(account["dropped"])
        lost = {what: n for (who, what), n in books.lost.items() if who == label and "/" in what}
        _compare(books, f"rule 2: {label} dropped", dropped, lost)
        shed = dropped["inbox/memory"]
        if shed != ways[Way.GONE][source]:
            books.fault("rule 2", f"{label}: {ways[Way.GONE][source]} rows gone, {shed} counted")
        given_back = account["returned"] + sum(dropped[f"trunk/{end}"] for end in ENDS)
        left = int(ways[Way.OPEN][source]) if ended else 0
        if given_back != left:
            books.fault("rule 2", f"{label}: {left} rows left, {given_back} given back")
        if ended and account["returned"] != books.owed(books.trunk, source):
            books.fault("rule 9", f"{label}: {account['returned']} rows returned on the trunk")


TRUNK_WAYS = {
    "filtered": Way.FILTERED,
    "sampled_out": Way.SAMPLED,
    "absorbed": Way.ABSORBED,
    "dead_lettered": Way.BURIED,
    "passed": Way.PASSED,
}
SINK_WAYS = {"skipped": Way.SKIPPED, "dead_lettered": Way.BURIED}


def _branch_accounts(books: Books, at: int, said: Any, found: Counts, *, ended: bool) -> None:
    """Rule 3, term by term and by source, against the books."""
    accounts = {} if said is None else said["sources"]
    passed = books.count(Way.PASSED)
    ways = {way: books.count_at(at, way) for way in NAMES}
    for source, label in enumerate(books.sources):
        account = accounts.get(label)
        rule = f"rule 3: {label} to {books.sinks[at].label}"
        if account is None:
            if passed[source]:
                books.fault(rule, "no account")
            continue
        expected = {name: int(ways[way][source]) for name, way in SINK_WAYS.items()}
        refused = books.refused[at, source]
        delivered = ways[Way.DELIVERED][source] + ways[Way.COUNTED][source] - refused
        expected |= {"passed": passed[source], "refused": refused, "delivered": delivered}
        expected |= {"held": 0 if ended else found[source], "recovered": 0}
        _compare(books, rule, account, expected)
        dropped = Counter(account["dropped"])
        lost = books.lost[label, f"{at}:dead letter"]
        told = sum(dropped.pop(reason, 0) for reason in ("rejected", "too_large", "stage_error"))
        ends = account["returned"] + sum(dropped.pop(reason, 0) for reason in ENDS)
        left = ways[Way.OPEN][source] if ended else 0
        counted = (told, dropped.pop("closed", 0), ends, dropped.total())
        seen = (lost, ways[Way.CLOSED][source], left, ways[Way.GONE][source])
        if ended and account["returned"] != books.owed(books.ways[at], source):
            books.fault("rule 9", f"{rule}: {account['returned']} rows returned")
        if counted != seen:
            books.fault(rule, f"dead, closed, ended, dropped: {counted}, the books say {seen}")


def _compare(books: Books, rule: str, account: Any, expected: dict[str, Any]) -> None:
    wrong = {n: (int(account[n]), int(e)) for n, e in expected.items() if account[n] != e}
    if wrong:
        books.fault(rule, f"(said, in the books): {wrong}")
