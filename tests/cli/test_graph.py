"""``tapio graph``: the drawings, and that no name can break one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tapio.cli.graph import dot, drawing, mermaid, text
from tapio.cli.main import main
from tapio.model.plan import Plan
from tapio.model.when import When
from tapio.registry import Registry
from tests import specs
from tests.specs import SAMPLE, Network, Otlp, Process

UNICODE = """\
node

  process        source
    │
  cgroup         enrich
    │
  adaptive       sample
    │
  by             batch
    │
    ├─ file      sink  drop_oldest
    └─ otlp      sink  drop_oldest, when process
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own stages, and a terminal of known width and locale."""
    monkeypatch.setattr(Registry, "installed", specs.registry)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("COLUMNS", "80")
    Path("node.yaml").write_text(SAMPLE)


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    """The sample file, from its source to its sinks."""
    assert main(["graph", "node.yaml"]) == 0
    assert capsys.readouterr().out == UNICODE


def test_ascii(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With LANG=C there is ASCII alone."""
    monkeypatch.setenv("LC_ALL", "C")
    assert main(["graph", "node.yaml"]) == 0
    drawn = UNICODE.replace("│", "|").replace("├─", "+-").replace("└─", "`-")
    assert capsys.readouterr().out == drawn


def test_forty_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In 40 columns what does not fit stands below."""
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["graph", "node.yaml"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 40
    assert "    └─ otlp      sink\n         drop_oldest, when process\n" in out


def test_several_sources_and_no_trunk() -> None:
    """Every source leads to every sink where there is nothing between them."""
    plan = Plan("n", (Process(), Network()), (), (Otlp(), Otlp()))
    edges = [line for line in mermaid(drawing(plan)) if "-->" in line]
    assert len(edges) == 4
    assert (
        [line for line in text(drawing(plan)) if "sink" in line][1].strip().startswith("└─ otlp-2")
    )


def test_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    """What is drawn is what would run."""
    assert main(["graph", "node.yaml", "--set", "sinks.1.on_full=block"]) == 0
    assert "block, when process" in capsys.readouterr().out


def test_a_wrong_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be loaded is not drawn; 78."""
    assert main(["graph", "nowhere.yaml"]) == 78
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("when", "said"),
    [
        (When(topic=("a", "b")), "a or b"),
        (When(severity=17), "severity >= 17"),
        (When(field="pid", gt=5), "pid > 5"),
        (When(field="up", eq=True), "up = True"),
        (When(field="token", eq="hunter2"), "token = ..."),
        (When(field="token", in_=("hunter2",)), "token in (...)"),
        (When(not_=When(severity=9)), "not (severity >= 9)"),
        (
            When(all=(When(topic=("a",)), When(any=(When(severity=9), When(field="b", ne=0))))),
            "a and (severity >= 9 or b != 0)",
        ),
        (When(any=()), "never"),
    ],
)
def test_when(when: When, said: str) -> None:
    """A ``when`` is said on a line, without the texts that it compares with."""
    drawn = drawing(Plan("n", (Process(),), (), (Otlp(when=when),)))
    assert drawn.sinks[0].detail == f"drop_oldest, when {said}"


HOSTILE = 'a"]; b --> c; %% <script>#quot; \\" \n end\x1b[31m\\'


def test_names_cannot_break_a_drawing() -> None:
    """Whatever a stage is called, each drawing has as many lines, and no stray quote."""
    plain = Plan("n", (Process(),), (), (Otlp(name="plain"),))
    hostile = Plan(HOSTILE, (Process(name=HOSTILE),), (), (Otlp(name=HOSTILE),))
    for draw in (text, mermaid, dot):
        lines = list(draw(drawing(hostile)))
        assert len(lines) == len(list(draw(drawing(plain))))
        assert "\x1b" not in "".join(lines)
        assert "\n" not in "".join(lines)
    for line in mermaid(drawing(hostile)):
        assert len(re.findall('"', line)) in (0, 2)
        assert "<script>" not in line
    for line in dot(drawing(hostile)):
        assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) % 2 == 0


def test_dot_is_taken_by_graphviz(capsys: pytest.CaptureFixture[str]) -> None:
    """The digraph has balanced braces, and Graphviz draws it where it is installed."""
    hostile = Plan(HOSTILE, (Process(name=HOSTILE),), (), (Otlp(name=HOSTILE),))
    digraph = "\n".join(dot(drawing(hostile)))
    assert (digraph.splitlines()[0][:8], digraph[-1]) == ("digraph ", "}")
    if graphviz := shutil.which("dot"):
        subprocess.run(
            [graphviz, "-Tsvg"], input=digraph, text=True, check=True, capture_output=True
        )
