"""``tapio stages``: the list, one stage in full, and JSON, all from the code."""

from __future__ import annotations

import json

import pytest

from tapio.cli.main import main
from tapio.model.errors import ConfigError
from tapio.registry import Registry
from tests import specs

OTLP = """\
sinks: otlp

Sends to an endpoint.

  endpoint  text; default "http://127.0.0.1:4318"
  headers  keys with text, kept secret; default {}
  token  text, kept secret or null; default null
  compression  gzip | zstd | none; default "zstd"
  tls  true or false; default false
  timeout_s  number or null; seconds; default null
of every sink:
  name  text; default ""
      How metrics and the ledger call it; by default its type, numbered where it
      repeats.
"""


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own stages, and a terminal of known width."""
    monkeypatch.setattr(Registry, "installed", specs.registry)
    monkeypatch.setenv("COLUMNS", "80")


def test_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Each stage is a line below its section."""
    assert main(["stages"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sources:"
    assert "  process   A source whose rows hold command lines." in lines
    assert lines.index("sinks:") < lines.index("  otlp      Sends to an endpoint.")


def test_one(capsys: pytest.CaptureFixture[str]) -> None:
    """One stage is shown with its text and every setting."""
    assert main(["stages", "otlp"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(OTLP)
    assert "  retry.max_s  number, more than 0; seconds; default 30.0\n" in out


def test_by_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """A stage may be named with its kind, as in a file's steps."""
    assert main(["stages", "batch.by"]) == 0
    assert capsys.readouterr().out.startswith("batch: by\n")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("otpl", "there is no stage 'otpl'; did you mean 'otlp'?"),
        ("sink.by", "there is no stage 'sink.by'"),
        ("zzz", "there are: anything, network, process"),
    ],
)
def test_unknown(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is none is a wrong usage, with the near one."""
    assert main(["stages", name]) == 2
    assert said in capsys.readouterr().err


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as data: of all, or of one."""
    assert main(["stages", "--json"]) == 0
    every = json.loads(capsys.readouterr().out)
    assert {(s["kind"], s["type"]) for s in every} >= {("sink", "otlp"), ("step", "redact")}
    assert main(["stages", "file", "--json"]) == 0
    (file,) = json.loads(capsys.readouterr().out)
    path = next(s for s in file["settings"] if s["name"] == "path")
    assert (path["type"], path["required"], path["default"]) == ("text", True, None)


def test_forty_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In 40 columns lines are wrapped."""
    monkeypatch.setenv("COLUMNS", "40")
    for words in ([], ["otlp"]):
        assert main(["stages", *words]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40


def test_a_broken_plugin_is_named_and_the_others_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be loaded is a sentence on stderr; the list is printed all the same."""
    broken = (ConfigError("sink 'x' of plugin 'acme' cannot be loaded: no module"),)
    monkeypatch.setattr(Registry, "broken", lambda _: broken)
    assert main(["stages"]) == 0
    said = capsys.readouterr()
    assert "otlp" in said.out
    assert said.err == "tapio: sink 'x' of plugin 'acme' cannot be loaded: no module\n"
