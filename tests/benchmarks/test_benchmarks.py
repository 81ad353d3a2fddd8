"""The benchmarks run, say what they must, and refuse to give figures that mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.result import compared

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
