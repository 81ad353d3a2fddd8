"""What a pipeline takes from its surroundings: folders and resource attributes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapio.engine.deadletter import DeadLetterFolder
from tapio.engine.setting import origin, resource, state_dir
from tapio.model.origin import Origin
from tapio.model.plan import Plan
from tapio.model.policy import DeadLetters, Settings


def plan(**settings: object) -> Plan:
    """A plan of settings alone."""
    return Plan("node", (), (), (), Settings(**settings))


@pytest.mark.parametrize(
    ("said", "state_home", "folder"),
    [
        ("", "", "home/.local/state/tapio"),
        ("", "xdg", "xdg/tapio"),
        ("~/mine", "xdg", "home/mine"),
        ("mine", "xdg", "mine"),
    ],
)
def test_the_state_folder(
    said: str, state_home: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan's, else the user's; ``~`` is the home wherever it is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", state_home and str(tmp_path / state_home))
    assert state_dir(plan(state_dir=said)).absolute() == tmp_path / folder


def test_the_home_of_dead_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` in their path is the home too."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert DeadLetterFolder(DeadLetters(path="~/dead"), Path("x")).folder == tmp_path / "dead"


def test_resource_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's over ours, the plan's over both; what is no pair is passed over."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "a=1, b = x%20y,nothing,,=,host.name=other,c=1")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "agent")
    said = resource(plan(resource={"c": "2"}), Origin("node", "boot", "e" * 16))
    assert said == {
        "service.name": "agent",
        "service.instance.id": "e" * 16,
        "host.name": "other",
        "os.type": "linux",
        "a": "1",
        "b": "x y",
        "c": "2",
    }


def test_what_is_no_utf8_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither OTLP nor the Prometheus page could say it."""
    for name in ("OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME", "TAPIO_NODE"):
        monkeypatch.setenv(name, "a\udcff=b\udcff")
    where = origin(Path("/"))
    said = resource(plan(), where)
    assert (said["a\ufffd"], said["service.name"]) == ("b\ufffd", "a\ufffd=b\ufffd")
    assert where.node == said["host.name"] == "a\ufffd=b\ufffd"
