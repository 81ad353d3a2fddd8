"""Which pipeline a run takes, and what it says of that."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from tapio.cli import choice
from tapio.cli.choice import choose, with_otlp
from tapio.config import ConfigErrors
from tapio.kernel import capability
from tapio.model.plan import Plan, tag
from tapio.registry import Registry
from tests.cli.running import CONFIG

LOGGER = logging.getLogger("tapio.test")


def asked(**said: object) -> argparse.Namespace:
    """A command line that asks for ``said``."""
    none = {"config": None, "profile": None, "set": [], "state_dir": None}
    return argparse.Namespace(**none | said)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """No endpoint in the environment; logs from info on."""
    for name in choice.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    caplog.set_level(logging.INFO, "tapio.test")


def tags(plan: Plan) -> tuple[list[str], list[str]]:
    """The types of the sources and of the sinks."""
    return [tag(s) for s in plan.sources], [tag(s) for s in plan.sinks]


def test_ebpf_is_taken_where_nothing_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The default pipeline watches with eBPF, says so, and may be exchanged if that fails."""
    monkeypatch.setattr(capability, "missing", list)
    chosen = choose(asked(), LOGGER)
    assert tags(chosen.plan) == (["process"], ["file"])
    assert chosen.replaceable
    assert [r.getMessage() for r in caplog.records] == ["watching processes with eBPF"]


def test_proc_is_read_where_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Which one, why, and exactly what is missing: all of it in one warning."""
    monkeypatch.setattr(capability, "missing", lambda: ["CAP_BPF is missing (x)", "no BTF (y)"])
    chosen = choose(asked(), LOGGER)
    assert tags(chosen.plan) == (["procfs"], ["file"])
    assert not chosen.replaceable
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(
        "eBPF cannot be used: CAP_BPF is missing (x); no BTF (y); reading /proc instead"
    )


def test_what_is_named_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file or a profile is run as it is, and no word is said about eBPF."""
    path = tmp_path / "a.yaml"
    path.write_text(CONFIG.format(out=tmp_path, more=""))
    assert tags(choose(asked(config=str(path)), LOGGER).plan) == (["synthetic"], ["file"])
    assert tags(choose(asked(profile="default"), LOGGER).plan) == (["process"], ["file"])
    assert caplog.records == []


def test_a_profile_keeps_its_files_in_the_state_folder(tmp_path: Path) -> None:
    """--state-dir moves the rows as well, whatever its name; --set has the last word."""
    odd = tmp_path / "a b: 'c' #d"
    plan = choose(asked(profile="default", state_dir=str(odd)), LOGGER).plan
    assert plan.sinks[0].path == str(odd / "rows")  # type: ignore[attr-defined]
    words = asked(profile="default", state_dir=str(odd), set=["sinks.0.path=/elsewhere"])
    assert choose(words, LOGGER).plan.sinks[0].path == "/elsewhere"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", choice.ENDPOINTS)
def test_an_endpoint_in_the_environment_adds_otlp(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """To a built-in pipeline, once; a file says itself what it wants."""
    monkeypatch.setenv(name, "http://127.0.0.1:4318")
    plan = choose(asked(profile="default"), LOGGER).plan
    assert tags(plan)[1] == ["file", "otlp"]
    assert with_otlp(plan, Registry.installed(), {name: "x"}) is plan
    path = tmp_path / "a.yaml"
    path.write_text(CONFIG.format(out=tmp_path, more=""))
    assert tags(choose(asked(config=str(path)), LOGGER).plan)[1] == ["file"]


def test_an_empty_endpoint_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as unset, as OpenTelemetry has it."""
    monkeypatch.setenv(choice.ENDPOINTS[0], "")
    assert tags(choose(asked(profile="default"), LOGGER).plan)[1] == ["file"]


def test_what_does_not_fit_together_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The errors of ``validate``'s topology are errors of a run, its warnings are logged."""
    path = tmp_path / "a.yaml"
    sinks = "sinks: [{type: file, path: out, when: {topic: [nowhere]}}]\n"
    path.write_text("sources: [{type: process}]\n" + sinks)
    choose(asked(config=str(path)), LOGGER)
    assert any("no source gives 'nowhere'" in r.getMessage() for r in caplog.records)
    path.write_text(path.read_text() + "settings: {memory: {soft: 9, hard: 3}}\n")
    with pytest.raises(ConfigErrors, match="must be less than memory"):
        choose(asked(config=str(path)), LOGGER)


def test_a_run_has_no_use_for_pandas() -> None:
    """Pyarrow makes arrays without importing it; a plugin that wants it still gets it."""
    program = (
        "import sys, pyarrow as pa\n"
        "from tapio.cli.arrow import forgo_pandas\n"
        "forgo_pandas()\n"
        "pa.array([1])\n"
        "assert 'pandas' not in sys.modules\n"
        "import pandas\n"
        "forgo_pandas()\n"
        "print(pandas.Series([1]).sum())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
