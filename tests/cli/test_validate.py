"""``tapio validate``: what it says, where, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tapio.cli.main import main
from tapio.kernel import capability
from tapio.observers.process import Process
from tapio.registry import Registry
from tests import specs
from tests.specs import SAMPLE


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own stages, in a folder of the test's own."""
    monkeypatch.setattr(Registry, "installed", specs.registry)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def validate(text: str, *words: str) -> int:
    """Validate ``text`` as node.yaml."""
    Path("node.yaml").write_text(text)
    return main(["validate", "node.yaml", *words])


def test_the_sample_file(capsys: pytest.CaptureFixture[str]) -> None:
    """The sample file is right but for its command lines, of which it is warned."""
    assert validate(SAMPLE) == 0
    said = capsys.readouterr()
    assert said.err == (
        "warning: node.yaml:3: sources.0: argv may hold secrets and no redact stands before "
        "the sinks; add `steps: [{type: redact}]`\n"
    )
    assert "note: node.yaml:14: sinks.0: when full (262,144 rows or 64 MiB; at 500" in said.out
    assert said.out.endswith("node.yaml: 1 warning\n")


def test_nothing_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """With redact there is nothing on stderr."""
    assert validate(SAMPLE + "steps: [{type: redact}]\n") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.endswith("node.yaml: nothing is wrong\n")


def test_errors_have_file_line_and_path(capsys: pytest.CaptureFixture[str]) -> None:
    """All errors of the schema are told, each on a line, with 78."""
    assert validate(SAMPLE.replace("500", "-1").replace("cgroup", "cgrup")) == 78
    assert capsys.readouterr().err.splitlines() == [
        "error: node.yaml:5: enrich.0.type: there is no enrich 'cgrup'; did you mean 'cgroup'?",
        "error: node.yaml:8: sample.0.target_per_s: expected number > 0.0",
    ]


def test_errors_of_the_topology(capsys: pytest.CaptureFixture[str]) -> None:
    """What two places disagree about has a place too: the line of the stage that needs it."""
    text = SAMPLE.replace("{topic: [process]}", "{field: nobody, eq: 1}\n    on_full: spool")
    assert validate(text.replace("enrich:\n  - type: cgroup\n", "")) == 78
    errors = [e for e in capsys.readouterr().err.splitlines() if e.startswith("error")]
    assert errors == [
        "error: node.yaml:16: sinks.1.when: no stage before this makes a column 'nobody'",
        "error: node.yaml:17: sinks.1.on_full: the spool is not there yet; "
        "use drop_oldest, drop_newest or block",
    ]


def test_the_environment_comes_last(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What this machine lacks is an error, unless it is not looked at."""
    Path("out").write_text("a file")
    assert validate(SAMPLE) == 78
    error = "error: node.yaml:15: sinks.0.path: cannot be written: a file stands where a folder"
    assert error in capsys.readouterr().err
    assert validate(SAMPLE, "--no-environment") == 0
    assert validate(SAMPLE, "--set", f"sinks.0.path={here}/elsewhere") == 0
    assert validate(SAMPLE.replace("500", "-1")) == 78
    assert validate(SAMPLE + "settings: {memory: {soft: 2, hard: 1}}") == 78
    assert "cannot be written" not in capsys.readouterr().err


def test_overrides_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    """An override that is wrong is told as one, without a line."""
    assert validate(SAMPLE, "--set", "sample.0.target_per_s=x", "--set", "nonsense") == 78
    assert capsys.readouterr().err.splitlines() == [
        "error: --set: nonsense: say path=value, such as sample.0.target_per_s=1000",
        "error: --set: sample.0.target_per_s: expected number, got text",
    ]


def test_no_value_that_was_filled_in_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither errors of the schema nor of the environment show what a variable held."""
    monkeypatch.setenv("TAPIO_TEST", "hunter2")
    Path("hunter2").write_text("a file")
    at_type, at_path = (
        SAMPLE.replace("cgroup", "${TAPIO_TEST}"),
        SAMPLE.replace("out", "${TAPIO_TEST}"),
    )
    at_host = SAMPLE.replace("http://127.0.0.1", "http://${TAPIO_TEST}.invalid")
    at_name = SAMPLE.replace("500", "${TAPIO_TEST}")
    for text in (at_type, at_path, at_host, at_name):
        for words in ((), ("--json",)):
            assert validate(text, *words) == 78
    said = capsys.readouterr()
    assert "hunter2" not in said.out + said.err


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object says whether it is right, and each finding's place and reason."""
    assert validate(SAMPLE, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is True
    assert [f["level"] for f in said["findings"]] == ["warning", "note", "note"]
    assert validate("x", "--json") == 78
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "ok": False,
        "findings": [
            {
                "level": "error",
                "file": "node.yaml",
                "line": 1,
                "path": "",
                "reason": "expected keys and values, such as `sources:`",
            }
        ],
    }


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    """It is one sentence, with 78."""
    assert main(["validate", "nowhere.yaml"]) == 78
    assert "error: nowhere.yaml: cannot be read: No such file" in capsys.readouterr().err


def test_text_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters of a file's keys and values are written as codes."""
    assert validate('"\\e[31mred": 1\n') == 78
    assert "\x1b" not in capsys.readouterr().err


def test_ebpf_that_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A source that needs eBPF says what is missing, and what to do."""
    registry = Registry()
    for kind, spec in (("source", Process), ("sink", specs.File), ("step", specs.Redact)):
        registry.add(kind, spec)
    monkeypatch.setattr(Registry, "installed", lambda: registry)
    monkeypatch.setattr(capability, "missing", lambda: ["CAP_BPF is missing (run as root)"])
    text = "sources: {type: process}\nsinks: {type: file, path: out}\nsteps: {type: redact}"
    assert validate(text) == 78
    assert validate(text, "--no-environment") == 0
    said = "error: node.yaml:1: sources.0: eBPF cannot be used: CAP_BPF is missing (run as root)"
    assert said in capsys.readouterr().err
