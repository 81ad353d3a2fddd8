"""``Circuit``: a sink's circuit breaker (rule 13), a state machine without a clock.

    closed ──failures in a row, or a share of the last attempts──▶ open
    open ──reopen_s──▶ half-open ──one real batch──▶ closed | open

Open means *hold*: it never drops and never dead-letters.
"""

from __future__ import annotations

from collections import deque

from tapio.model.policy import Breaker


class Circuit:
    """Whether a sink may be tried now. Time is an argument, in seconds."""

    def __init__(self, policy: Breaker) -> None:
        self.policy = policy
        self.state = "closed"
        self.why = ""
        self.opened = 0
        self._run = 0
        self._recent: deque[bool] = deque(maxlen=policy.window)
        self._retry_at = 0.0
        self._probing = False

    def wait(self, now: float) -> float:
        """Seconds until the next try may be asked for; 0 = try now, and report how it went."""
        if self.state == "open" and now >= self._retry_at:
            self.state, self._probing = "half-open", False
        if self.state == "closed":
            return 0.0
        if self.state == "half-open" and not self._probing:
            self._probing = True
            return 0.0
        return max(self._retry_at - now, 0.05)  # a probe is under way: look again in 50 ms

    def success(self) -> None:
        """The endpoint answered, be it that it rejected the rows (rule 12)."""
        self._run = 0
        self._recent.append(True)
        if self.state != "closed":
            self.state, self.why, self._probing = "closed", "", False
            self._recent.clear()

    def failure(self, now: float, why: str) -> None:
        """The endpoint failed."""
        self._run += 1
        self._recent.append(False)
        full = len(self._recent) == self.policy.window
        share = self._recent.count(False) / len(self._recent)
        if self.state == "half-open" or self._run >= self.policy.failures:
            self._open(now, f"{self._run} failures in a row, the last: {why}")
        elif full and share >= self.policy.ratio:
            self._open(now, f"{share:.0%} of {self.policy.window} tries failed, the last: {why}")

    def abandon(self) -> None:
        """A probe ended, perhaps without an answer: let another one probe."""
        self._probing = False

    def _open(self, now: float, why: str) -> None:
        self.opened += self.state != "open"
        self.state, self.why, self._probing = "open", why, False
        self._retry_at = now + self.policy.reopen_s
