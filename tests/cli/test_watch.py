"""What the logs say of sinks and losses while a run goes on."""

from __future__ import annotations

import logging

import pytest

from tapio.cli.watch import Watch
from tests.cli.statuses import branch, sink, source, status

LOGGER = logging.getLogger("tapio.watched")


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Logs from info on."""
    caplog.set_level(logging.INFO, "tapio.watched")
    return caplog


def circuit(state: str) -> dict[str, object]:
    """A status whose one sink is in ``state``."""
    breaker = {"state": state, "why": "refused", "opened": 1}
    return status(sinks={"otlp": sink({"process": branch()}, breaker=breaker)})


def test_a_sink_that_is_away_is_said_once(said: pytest.LogCaptureFixture) -> None:
    """When the circuit opens and when it has closed again; probes in between are no news."""
    watch = Watch(LOGGER)
    for state in ("closed", "open", "half-open", "open", "half-open", "closed", "closed"):
        watch.look(circuit(state))
    assert [(r.name, r.levelname, r.getMessage()) for r in said.records] == [
        (
            "tapio.watched.otlp",
            "WARNING",
            "cannot deliver: refused; its rows wait, and it is tried again",
        ),
        ("tapio.watched.otlp", "INFO", "delivers again"),
    ]


def test_losses_are_said_with_their_reason(said: pytest.LogCaptureFixture) -> None:
    """Each new loss on the trunk, at a sink and in the kernel; what was said is not repeated."""
    watch = Watch(LOGGER)
    watch.look(status(sources={"process": source()}, sinks={"file": sink({"process": branch()})}))
    assert said.records == []
    lost = status(
        sources={"process": source(taken=9, dropped={"inbox/memory": 4})},
        sinks={"file": sink({"process": branch(passed=9, refused=2, dropped={"drop_oldest": 3})})},
    )
    watch.look(lost, kernel_lost=7)
    watch.look(lost, kernel_lost=7)
    assert sorted((r.name, r.getMessage()) for r in said.records) == [
        ("tapio.watched.file", "2 rows were lost: refused by the endpoint"),
        ("tapio.watched.file", "3 rows were lost: drop_oldest"),
        ("tapio.watched.kernel", "7 rows were lost: its rings were full"),
        ("tapio.watched.process", "4 rows were lost: inbox/memory"),
    ]
