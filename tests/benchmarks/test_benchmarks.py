"""The benchmarks run, say what they must, and refuse to give figures that mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from benchmarks import hops
from benchmarks.__main__ import main
from benchmarks.result import Failed, compared
from tapio import Batch, Context, Rejected, Sink, Write

ROOT = Path(__file__).parent.parent.parent
KEYS = ["bench", "case", "value", "unit", "baseline", "ratio"]
NAMES = sorted(f.stem for f in (ROOT / "benchmarks").glob("*.py") if "\ndef run(" in f.read_text())


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m benchmarks`` with these arguments."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("benchmarks")
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_gives_json_lines(name: str) -> None:
    """Each line has the six keys; ours stand once a baseline, baselines and plain figures once."""
    done = bench(name, "--json", "--quick")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines
    for line in lines:
        assert list(line) == KEYS
        assert line["bench"] == name
        assert (line["baseline"] is None) == (line["ratio"] is None)
    own_lines = {line["case"] for line in lines if line["baseline"] is None}
    for line in lines:
        if line["baseline"] is not None:
            assert line["case"].startswith("tapio")
            assert line["baseline"] in own_lines


def test_a_ratio_above_one_means_tapio_is_better() -> None:
    """Fewer seconds win and more rows a second win; a baseline has a line of its own."""
    faster, own = compared("b", "ns/row", {"tapio": 2.0}, {"slow": 8.0})
    assert (faster.ratio, own.case, own.value, own.ratio) == (4.0, "slow", 8.0, None)
    more, _ = compared("b", "rows/s", {"tapio": 8.0}, {"slow": 2.0})
    assert more.ratio == 4.0
    with pytest.raises(ValueError, match="starts with 'tapio'"):
        list(compared("b", "rows/s", {"ours": 1.0}, {"slow": 2.0}))


class Refusing(Sink, frozen=True, tag="blackhole"):
    """A sink that takes nothing."""

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Write]:
        """Open it."""

        async def write(batch: Batch) -> None:
            raise Rejected("no")

        yield write


def test_figures_of_lost_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline that does not deliver every row gives no figure."""
    monkeypatch.setattr(hops, "Blackhole", Refusing)
    with pytest.raises(Failed, match="0 of 8192 rows delivered"):
        hops.pipeline(2, fuse=False)


def test_a_failed_benchmark_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is one line, and the exit code says that the figures do not count."""
    monkeypatch.setattr(hops, "Blackhole", Refusing)
    assert main(["hops", "--quick"]) == 1
    assert capsys.readouterr().err.startswith("failed: 0 of ")


def test_an_unknown_benchmark_is_a_usage_error() -> None:
    """The sentence names those there are, and the exit code is 2."""
    done = bench("hopps")
    assert done.returncode == 2
    assert "no benchmark hopps; there are" in done.stderr
    assert "hops" in done.stderr


def test_the_list_says_what_each_measures() -> None:
    """``--list`` names every benchmark with a sentence."""
    lines = bench("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert all(len(line.split()) > 3 for line in lines)
