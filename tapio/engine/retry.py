"""How long to wait before a sink is tried again (rule 11)."""

from __future__ import annotations

from random import Random

from tapio.model.policy import Retry


def wait_s(policy: Retry, attempt: int, after_s: float | None, random: Random) -> float:
    """Seconds before the next try; ``attempt`` counts the failed ones, from 1.

    What the endpoint asked for is honoured. Else full jitter: uniform over 0 to a bound that
    doubles from ``initial_s`` to ``max_s`` (Brooker, "Exponential Backoff And Jitter", 2015).
    """
    if after_s is not None:
        return max(0.0, after_s)  # not a number reads as no wait: a timer of NaN never rings
    doublings = min(attempt - 1, 32)  # 2**32 × any initial_s is beyond any max_s
    return random.uniform(0, min(policy.max_s, policy.initial_s * 2**doublings))
