"""Judges every Write of a simulated sink: ids, order, bounds, breaker, retries, rate, urgency."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tapio.model.batch import Batch
from tapio.model.errors import DeliveryError, Retryable
from tapio.model.policy import Breaker, Rate, Retry
from tests.sim.books import NAMES, Books, Uids, Way

EPS = 1e-4
"""Far more than the turns of a virtual loop take, and far less than any wait."""
POLL_S = 0.05
"""How often a batch looks whether another one's probe has closed the breaker."""


@dataclass(slots=True)
class Model:
    """Rule 13 as a state machine of its own."""

    policy: Breaker
    state: str = "closed"
    until: float = 0.0
    run: int = 0
    recent: deque[bool] = field(default_factory=deque)
    probing: bool = False
    closed_at: float = float("-inf")

    def begin(self, now: float) -> tuple[bool, bool]:
        """(may a try begin now, is it the probe)."""
        if self.state == "open" and now >= self.until - EPS:
            self.state, self.probing = "half-open", False
        if self.state != "half-open":
            return self.state == "closed", False
        free, self.probing = not self.probing, True
        return free, True

    def end(self, now: float, answer: str, probe: bool) -> None:
        """A try ended with ``answer``: good, bad, or none."""
        if answer == "none":
            self.probing &= not probe
            return
        self.recent.append(answer == "good")
        if len(self.recent) > self.policy.window:
            self.recent.popleft()
        self.run = 0 if answer == "good" else self.run + 1
        if answer == "good" and self.state != "closed":
            self.state, self.closed_at = "closed", now
            self.recent.clear()
        elif answer == "bad" and self._too_bad():
            self.state, self.until, self.probing = "open", now + self.policy.reopen_s, False

    def _too_bad(self) -> bool:
        share = sum(not good for good in self.recent) / len(self.recent)
        full = len(self.recent) == self.policy.window
        return (
            self.state == "half-open"
            or self.run >= self.policy.failures
            or (full and share >= self.policy.ratio)
        )


@dataclass(slots=True)
class Wait:
    """After a Retryable: when the same batch may be and must be tried again."""

    earliest: float
    latest: float


@dataclass(slots=True, eq=False)
class Referee:
    """What is known of one sink's Writes; ``begin`` and ``end`` judge each."""

    index: int
    label: str
    books: Books
    model: Model
    ids: dict[str, tuple[int, int, bytes]]
    """Of all sinks and lives: a number for the id, and the sink and the rows it stands for."""
    retry: Retry
    rate: Rate
    concurrency: int
    max_rows: int
    max_bytes: int
    max_age_s: float
    running: int = 0
    tries: dict[str, int] = field(default_factory=dict)
    waits: dict[str, Wait] = field(default_factory=dict)
    begun_at: float = 0.0
    spent: float = 0.0
    burying: int = 0
    seen_at: float = 0.0
    """When something last happened here."""
    promise: tuple[Uids, float, bool] | None = None
    """Rows whose first Write is due at a time, and whether one of them is urgent."""

    def passed(self, wanted: Uids, urgent: bool, idle: bool) -> None:
        """Rows are on their way; where the sink was idle its first Write is soon (rule 10)."""
        if len(wanted):
            self.seen_at = self.books.now()
        calm = idle and not self.running and self.model.state == "closed"
        if calm and len(wanted) and not self._paced():
            due = self.books.now() + (0.0 if urgent else self.max_age_s)
            self.promise = wanted, due, urgent

    def look(self) -> None:
        """Whether the sink is left alone though it has rows, and nothing hinders."""
        self.overdue()
        now, policy = self.books.now(), self.model.policy
        busy = self.running or self.burying or self._paced()
        if busy or not self.books.outstanding[self.index]:
            return
        waits = [w.latest for w in self.waits.values()]
        held = self.model.until if self.model.state != "closed" else 0.0
        due = max([self.seen_at + self.max_age_s, held, *waits])
        if now > max(due, self.model.closed_at + policy.reopen_s) + POLL_S + EPS:
            self._fault("rules 11, 13: held rows are tried", f"not since {self.seen_at:.3f}")

    def overdue(self) -> None:
        """Whether a promised Write has not come, while its rows are there and nothing hinders."""
        if self.promise is None:
            return
        if self.running or self.waits or self.model.state != "closed":
            self.promise = None
            return
        there = (self.books.ways[self.index, self.promise[0]] == Way.OPEN).any()
        if there and self.books.now() > self.promise[1] + EPS:
            self.books.fault("rule 10: urgent rows at once, others at max_age_s", self.label)

    def _kept(self, uids: Uids) -> None:
        """A Write of ``uids`` begins: the promised one, or one that may keep it waiting."""
        if self.promise is None:
            return
        rows, _, urgent = self.promise
        if np.isin(rows, uids).any():
            self.overdue()
            self.promise = None
        elif not urgent:
            self.promise = None

    def begin(self, batch: Batch) -> bool:
        """A Write of ``batch`` begins; whether it is a probe."""
        uids: Uids = batch["uid"]
        self._kept(uids)
        self.seen_at = self.books.now()
        self.running += 1
        if self.running > self.concurrency:
            self._fault("rule 19: concurrency", f"{self.running} Writes at a time")
        self._identity(batch, uids)
        self._content(batch, uids)
        self._order(uids)
        self._pace(batch)
        self._retried(batch.id)
        free, probe = self.model.begin(self.books.now())
        if not free:
            self._fault("rule 13: open means hold", f"a Write while {self.model.state}")
        return probe

    def end(
        self, batch: Batch, error: BaseException | None, probe: bool, *, silent: bool = False
    ) -> None:
        """That Write ended; ``silent`` says that it told nothing of the endpoint."""
        self.seen_at = now = self.books.now()
        self.running -= 1
        bad = isinstance(error, Retryable) and not error.too_large
        known = not silent and (error is None or isinstance(error, DeliveryError))
        self.model.end(now, "bad" if bad else "good" if known else "none", probe)
        if isinstance(error, Retryable) and bad:
            tries = self.tries[batch.id] = self.tries.get(batch.id, 0) + 1
            longest = min(self.retry.max_s, self.retry.initial_s * 2.0 ** min(tries - 1, 99))
            after = error.after_s
            earliest, latest = (0.0, longest) if after is None else (after, after)
            self.waits[batch.id] = Wait(now + earliest, now + latest)

    def buries(self, more: int) -> None:
        """A dead letter is begun or done."""
        self.burying += more
        self.seen_at = self.books.now()

    def reborn(self) -> None:
        """A new process has a new breaker, and no try under way."""
        self.burying, self.seen_at = 0, self.books.now()
        self.model = Model(self.model.policy)
        self.running, self.promise = 0, None
        self.tries.clear()
        self.waits.clear()
        self.begun_at, self.spent = self.books.now(), 0.0

    def _identity(self, batch: Batch, uids: Uids) -> None:
        """Rule 16: one id, the same rows, at one sink, for ever; a row stays in its batch."""
        new = (1 + len(self.ids), self.index, uids.tobytes())
        number, *content = self.ids.setdefault(batch.id, new)
        if not batch.id or content != [*new[1:]]:
            self._fault("rule 16: id", f"id {batch.id!r} stands for other rows than before")
        sealed = self.books.sealed[self.index, uids]
        if ((sealed != 0) & (sealed != number)).any():
            self._fault("rule 16: sealed", "rows of a sealed batch came in another one")
        self.books.sealed[self.index, uids] = number

    def _content(self, batch: Batch, uids: Uids) -> None:
        """The rows are wanted, not yet ended, of one source, whole, and within bounds."""
        books = self.books
        ways = books.ways[self.index, uids]
        if ways.any():
            self._fault("rule 3", f"was given rows that are {NAMES[ways.max()]}")
        if len(np.unique(uids)) < len(uids):
            self._fault("rule 3", "was given a row twice in one batch")
        if (books.source[uids] != books.source[uids[0]]).any():
            self._fault("rule 10", "a batch holds rows of several sources")
        for name in ("key", "seq", "severity"):
            if (batch[name] != getattr(books, name)[uids]).any():
                self._fault("rule 3", f"column {name} was changed")
        if not np.allclose(batch.weights, books.weight[uids]):
            self._fault("rule 6", "weights are not those that the samplers gave")
        if batch.rows > self.max_rows or (batch.rows > 1 and batch.size > self.max_bytes):
            self._fault("max_rows, max_bytes", f"{batch.rows} rows, {batch.size} bytes")

    def _order(self, uids: Uids) -> None:
        """Rule 18: rows of one delivery are in their order, those that were parked apart."""
        stayed = uids[~self.books.parked[uids]]
        made = self.books.handing[stayed]
        together = np.argsort(made, kind="stable")
        same = np.diff(made[together]) == 0
        if (np.diff(stayed[together])[same] < 0).any():
            self._fault("rule 18", "rows of one batch came in another order")

    def _pace(self, batch: Batch) -> None:
        """Rule 19: what was given so far was paid for, but for one batch a worker."""
        if not self._paced():
            return
        room = EPS + self.books.now() - self.begun_at
        if self.spent > room + self._cost(self.max_rows, self.max_bytes) * self.concurrency:
            self._fault("rule 19: rate", f"{self.spent:.2f} s of rows in {room:.2f} s")
        self.spent += self._cost(batch.rows, batch.size)

    def _paced(self) -> bool:
        return bool(self.rate.rows_per_s or self.rate.bytes_per_s)

    def _cost(self, rows: int, size: int) -> float:
        """Seconds that a batch is worth."""
        per_row, per_byte = self.rate.rows_per_s, self.rate.bytes_per_s
        return max(rows / per_row if per_row else 0.0, size / per_byte if per_byte else 0.0)

    def _retried(self, id: str) -> None:
        """Rule 11: not before the wait is over, and then at once where nothing else forbids."""
        wait = self.waits.pop(id, None)
        if wait is None:
            return
        now = self.books.now()
        if now < wait.earliest - EPS:
            self._fault("rule 11: Retry-After", f"tried {wait.earliest - now:.3f} s too early")
        latest = max(wait.latest, self.model.closed_at + self.model.policy.reopen_s + POLL_S)
        if now > latest + EPS and self.model.state == "closed" and not self._paced():
            self._fault("rule 11: retried", f"tried {now - latest:.3f} s too late")

    def _fault(self, rule: str, said: Any) -> None:
        self.books.fault(rule, f"{self.label}: {said}")
