"""The circuit breaker as a state machine (rule 13)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.engine.breaker import Circuit
from tapio.model.policy import Breaker


def test_it_opens_on_a_run_of_failures() -> None:
    """Rule 13: so many in a row, and why is said; a success between begins anew."""
    circuit = Circuit(Breaker(failures=3, reopen_s=5))
    for at in range(2):
        circuit.failure(at, "refused")
    circuit.success()
    for at in range(3):
        assert circuit.state == "closed"
        circuit.failure(at, "refused")
    assert (circuit.state, circuit.opened) == ("open", 1)
    assert circuit.why == "3 failures in a row, the last: refused"
    assert circuit.wait(2) == 5
    assert circuit.wait(6.5) == 0.5


def test_it_opens_on_a_share_of_the_last_tries() -> None:
    """Rule 13: half of the last twenty, never before there were twenty."""
    circuit = Circuit(Breaker(failures=100, ratio=0.5, window=4))
    for _ in range(2):
        circuit.success()
    circuit.failure(0, "timeout")
    assert circuit.state == "closed"
    circuit.failure(0, "timeout")
    assert circuit.why == "50% of 4 tries failed, the last: timeout"


def test_one_probe_decides() -> None:
    """Rule 13: half-open lets one through; it closes the circuit or opens it again."""
    circuit = Circuit(Breaker(failures=1, reopen_s=5))
    circuit.failure(0, "refused")
    assert circuit.wait(5) == 0
    assert circuit.state == "half-open"
    assert circuit.wait(5) > 0
    circuit.failure(6, "refused")
    assert circuit.wait(6) == 5
    assert circuit.wait(11) == 0
    circuit.success()
    assert (circuit.state, circuit.why, circuit.wait(11)) == ("closed", "", 0)
    assert circuit.opened == 2


def test_a_probe_without_an_answer_frees_its_place() -> None:
    """Rule 13: an abandoned probe lets another one go, at once."""
    circuit = Circuit(Breaker(failures=1, reopen_s=5))
    circuit.failure(0, "refused")
    assert circuit.wait(5) == 0
    circuit.abandon()
    assert circuit.wait(5) == 0


ACTS = st.lists(st.sampled_from(["fail", "ok", "abandon", "ask", "time"]), max_size=60)


@given(acts=ACTS, failures=st.integers(1, 4), window=st.integers(1, 6))
def test_it_never_stays_shut(acts: list[str], failures: int, window: int) -> None:
    """Rule 13: whatever happened, within reopen_s a try may be made, one at a time."""
    circuit, now = Circuit(Breaker(failures=failures, window=window, reopen_s=5)), 0.0
    for act in acts:
        if act == "time":
            now += 1
        elif act == "fail":
            circuit.failure(now, "x")
        elif act == "ok":
            circuit.success()
        elif act == "abandon":
            circuit.abandon()
        else:
            circuit.wait(now)
        assert circuit.state in ("closed", "open", "half-open")
        assert (circuit.why == "") == (circuit.state == "closed")
    circuit.abandon()
    wait = circuit.wait(now)
    assert 0 <= wait <= 5
    if wait:
        assert circuit.wait(now + wait) == 0
    assert circuit.state == "closed" or circuit.wait(now + wait) == pytest.approx(0.05)
