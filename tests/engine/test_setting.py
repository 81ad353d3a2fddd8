"""Where a pipeline runs: origin, resource attributes, folders, and each stage's context."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from opentelemetry import metrics

from tapio.engine import setting
from tapio.engine.clock import SystemClock
from tapio.model.origin import Origin
from tapio.model.plan import Plan
from tapio.model.policy import Settings

ORIGIN = Origin("node-1", "boot", "00ff")


def plan(**options: object) -> Plan:
    """A plan with these settings."""
    return Plan("p", (), (), (), Settings(**options))  # type: ignore[arg-type]


def test_an_origin_is_new_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 16: node and boot as they are, and 64 random bits."""
    monkeypatch.setenv("TAPIO_NODE", "node-1")
    boot_id = tmp_path / "proc/sys/kernel/random/boot_id"
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text("b00t\n")
    first, second = setting.origin(tmp_path), setting.origin(tmp_path)
    assert (first.node, first.boot_id) == ("node-1", "b00t")
    assert len(bytes.fromhex(first.epoch)) == 8
    assert first.epoch != second.epoch
    assert setting.origin(tmp_path / "nothing").boot_id == ""


def test_resource_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, then the environment's as OpenTelemetry has them, then the plan's; junk is ignored."""
    given = "a=1, b = two%20words ,junk,host.name=other,=x"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", given)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "agent")
    said = setting.resource(plan(resource={"a": "3"}), ORIGIN)
    assert said["service.name"] == "agent"
    assert said["service.instance.id"] == "00ff"
    assert (said["a"], said["b"], said["host.name"]) == ("3", "two words", "other")
    assert "" not in said
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES")
    monkeypatch.delenv("OTEL_SERVICE_NAME")
    assert setting.resource(plan(), ORIGIN)["service.name"] == "tapio"


def test_the_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan's, else XDG_STATE_HOME's, else the one below the home."""
    assert setting.state_dir(plan(state_dir="/var/lib/tapio")) == Path("/var/lib/tapio")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert setting.state_dir(plan()) == Path("/state/tapio")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/someone")
    assert setting.state_dir(plan()) == Path("/someone/.local/state/tapio")


def test_each_stage_has_its_context() -> None:
    """A stage's own name and logger; clock, sequences and the rest are the pipeline's."""
    clock, stopping = SystemClock(), asyncio.Event()
    context = setting.contexts(
        plan(host_root="/host"),
        clock=clock,
        stopping=stopping,
        pressure=lambda: 0.5,
        meter=metrics.get_meter("test"),
        logger=logging.getLogger("tapio.p"),
        origin=ORIGIN,
    )
    a, b = context("a"), context("b")
    assert (a.pipeline, a.stage, a.logger.name) == ("p", "a", "tapio.p.a")
    assert a.sequences is b.sequences
    assert (a.host_root, a.origin, a.pressure()) == (Path("/host"), ORIGIN, 0.5)
    assert (a.clock, a.stopping) == (clock, stopping)


def test_the_system_clock_runs() -> None:
    """Wall clock in ns since 1970; the monotonic one is the loop's."""
    clock = SystemClock()
    assert clock.time_ns() > 1_700_000_000_000_000_000

    async def ahead() -> float:
        return asyncio.get_running_loop().time() - clock.monotonic()

    assert abs(asyncio.run(ahead())) < 1
