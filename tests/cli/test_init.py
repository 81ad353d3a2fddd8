"""``tapio init``: what it writes, where, and that it never overwrites by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapio.cli.main import main
from tapio.config import profile
from tapio.kernel import capability

DEFAULT, PROCFS = (profile(name).read_text() for name in ("default", "procfs"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the test's own, and a machine that has eBPF."""
    monkeypatch.setattr(capability, "missing", list)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


def test_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """Without FILE the config is all that stands on stdout."""
    assert main(["init"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == (DEFAULT, "")


def test_to_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """With FILE it is written there, and how to run it is said."""
    assert main(["init", "node.yaml"]) == 0
    assert Path("node.yaml").read_text() == DEFAULT
    said = capsys.readouterr()
    assert said.out == ""
    assert "run it with `tapio run -c node.yaml`" in said.err


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is there is left as it is, unless --force says otherwise."""
    Path("node.yaml").write_text("mine")
    assert main(["init", "node.yaml"]) == 2
    assert Path("node.yaml").read_text() == "mine"
    assert "node.yaml is there already; --force overwrites it" in capsys.readouterr().err
    assert main(["init", "node.yaml", "--force"]) == 0
    assert Path("node.yaml").read_text() == DEFAULT


def test_a_folder_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """It is one sentence with the name."""
    assert main(["init", "no/where.yaml"]) == 1
    assert "no/where.yaml: No such file or directory" in capsys.readouterr().err


def test_without_ebpf(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where eBPF cannot be used the config is the one that runs, and it is said why."""
    monkeypatch.setattr(capability, "missing", lambda: ["CAP_BPF is missing"])
    assert main(["init"]) == 0
    said = capsys.readouterr()
    assert said.out == PROCFS
    assert "CAP_BPF is missing" in said.err
    assert main(["init", "--profile", "default"]) == 0
    assert capsys.readouterr().out == DEFAULT


@pytest.mark.parametrize("name", ["default", "procfs"])
def test_it_validates(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What init writes passes validate as it is, environment included, with nothing to warn of."""
    assert main(["init", "node.yaml", "--profile", name]) == 0
    assert main(["validate", "node.yaml"]) == 0
    said = capsys.readouterr()
    assert "warning" not in said.err
    assert "node.yaml: nothing is wrong" in said.out
