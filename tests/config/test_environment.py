"""What this machine lacks for a plan."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tapio.config import environment
from tapio.config.environment import check, unwritable
from tapio.kernel import capability
from tapio.model.plan import Plan
from tapio.model.policy import Policy, Settings
from tapio.model.stage import Sink, Source
from tapio.observers.process import Process as Observer
from tests.specs import File, Otlp, Process


class Reads(Source, frozen=True, tag="reads"):
    """A source of a path."""

    path: str | tuple[str, ...]


class Tls(Policy, frozen=True):
    """Files."""

    ca_file: str = ""


class Sends(Sink, frozen=True, tag="sends"):
    """A sink with files."""

    tls: Tls = Tls()
    key_file: Path | None = None


def paths(tmp_path: Path, *specs: Any, **settings: str) -> list[str]:
    """Where findings are for a plan of these, whose state folder is fine."""
    sources = tuple(s for s in specs if isinstance(s, Source)) or (Process(),)
    sinks = tuple(s for s in specs if isinstance(s, Sink))
    said = {"state_dir": str(tmp_path / "state")} | settings
    return [f.path for f in check(Plan("node", sources, (), sinks, Settings(**said)))]


def test_all_is_well(tmp_path: Path) -> None:
    """Folders that can be made and hosts with an address are no findings."""
    assert paths(tmp_path, File(str(tmp_path / "a/b")), Otlp("http://127.0.0.1:1")) == []
    assert paths(tmp_path, Otlp("http://[::1]:4318"), Otlp("http://localhost")) == []


def test_homes_that_cannot_be_found(tmp_path: Path) -> None:
    """Each place is told, and no value; what else a plan lacks, once there is a home."""
    lost = "~nobody-is-called-so/secret"
    plan = Plan("node", (Reads(lost),), (), (File(lost),), Settings(state_dir=lost))
    found = list(check(plan))
    assert [f.path for f in found] == ["settings.state_dir", "sources.0.path", "sinks.0.path"]
    assert not any("secret" in f.reason for f in found)


def test_folders(tmp_path: Path) -> None:
    """A path behind a file cannot be written; nor can a state folder there."""
    (tmp_path / "file").write_text("")
    below = str(tmp_path / "file/x")
    assert paths(tmp_path, File(below)) == ["sinks.0.path"]
    assert paths(tmp_path, state_dir=below) == ["settings.state_dir"]
    assert paths(tmp_path, host_root=below) == ["settings.host_root"]


def test_why_a_folder_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is a file in the way, a read-only file system, or permissions."""
    (tmp_path / "file").write_text("")
    assert unwritable(tmp_path / "new/folder") == ""
    assert "a file stands" in unwritable(tmp_path / "file/x")
    monkeypatch.setattr(os, "access", lambda *_: False)
    for flag, why in ((0, "permission denied"), (os.ST_RDONLY, "the file system is read-only")):
        monkeypatch.setattr(os, "statvfs", lambda _, flag=flag: SimpleNamespace(f_flag=flag))
        assert unwritable(tmp_path) == why


def test_files(tmp_path: Path) -> None:
    """Files to read, in a group of settings too, must be there."""
    there, nowhere = tmp_path / "there", tmp_path / "nowhere"
    there.write_text("")
    assert paths(tmp_path, Sends(tls=Tls(str(there)), key_file=there), Reads(str(there))) == []
    assert paths(tmp_path, Reads((str(there), f"{nowhere}/**/*.arrows"))) == []
    lacking = paths(tmp_path, Sends(tls=Tls(str(nowhere)), key_file=nowhere), Reads(str(nowhere)))
    assert lacking == ["sources.0.path", "sinks.0.tls.ca_file", "sinks.0.key_file"]


def test_hosts(tmp_path: Path) -> None:
    """A host without an address, and one that cannot be a name, are found; no value is shown."""
    plan = Plan("n", (Process(),), (), (Otlp("http://hunter2.invalid"), Otlp("http://" + "a" * 99)))
    told = list(check(placed(plan, tmp_path)))
    assert [f.path for f in told] == ["sinks.0.endpoint", "sinks.1.endpoint"]
    assert "its host has no address" in told[0].reason
    assert "hunter2" not in str(told)


def placed(plan: Plan, tmp_path: Path) -> Plan:
    """The plan with a state folder of the test's."""
    settings = msgspec.structs.replace(plan.settings, state_dir=str(tmp_path))
    return Plan(plan.name, plan.sources, plan.trunk, plan.sinks, settings)


def test_a_silent_resolver_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that does not answer costs the bound, not a minute."""
    monkeypatch.setattr(environment, "RESOLVE_S", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(1))
    start = time.monotonic()
    assert paths(tmp_path, Otlp("http://collector:4318")) == ["sinks.0.endpoint"]
    assert time.monotonic() - start < 0.9


def test_ebpf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thing that eBPF lacks is an error at the source that needs it, and only there."""
    monkeypatch.setattr(capability, "missing", lambda: ["CAP_BPF is missing", "no BTF"])
    assert paths(tmp_path, Observer(), Process()) == ["sources.0", "sources.0"]
    monkeypatch.setattr(capability, "missing", list)
    assert paths(tmp_path, Observer()) == []
