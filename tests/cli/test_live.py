"""The live table on terminals of any size, and what it remembers of rows."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tapio.cli.figures import Rates
from tapio.cli.live import Picture, counts, view
from tapio.cli.recent import A_BATCH, KEEP, Board
from tapio.model.entities import EntityTable
from tapio.model.schema import ENTITY
from tests.batches import counting
from tests.cli.statuses import branch, sink, source, status


def drawn(
    said: dict[str, Any], board: Board, width: int, height: int, encoding: str = "utf-8"
) -> list[str]:
    """The lines of one picture."""
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(file=out, width=width, height=height, force_terminal=False)
    console.print(view(said, board, {"source process": 12.34}, width, height))
    out.seek(0)
    return out.read().splitlines()


def board(rows: int = 3, severity: int = 17) -> Board:
    """A board that has seen ``rows`` rows of one batch."""
    made = Board()
    made.take(counting("process.exit", rows, severity=severity, comm=["sh\x1b[2J"] * rows))
    return made


@pytest.mark.parametrize("width", [20, 40, 60, 80, 132, 300])
@pytest.mark.parametrize("height", [5, 12, 24, 60])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_it_fits_any_terminal(width: int, height: int, encoding: str) -> None:
    """No line is wider than the terminal, none can command it, and events fill what is left."""
    lines = drawn(status(), board(), width, height, encoding)
    assert all(len(line) <= width for line in lines)
    assert "\x1b" not in "".join(lines)
    if height >= 12:
        assert len(lines) <= height
        assert any("otlp" in line for line in lines)
    if width >= 40 and height >= 24:
        assert any(line.startswith("22:13:20 ERROR process.exit") for line in lines[-3:])
    if encoding == "ascii":
        assert "".join(lines).isascii()


def test_40_columns_show_rates_losses_and_states() -> None:
    """What matters most has a place on the smallest terminal."""
    lines = drawn(status(), board(), 40, 24)
    assert "lost 100, in kernel 0" in lines[1]
    file = next(line for line in lines if line.startswith("file"))
    otlp = next(line for line in lines if line.startswith("otlp "))
    assert file.split() == ["file", "0", "0", "0", "ok"]
    assert otlp.split() == ["otlp", "0", "900", "100", "open"]
    assert next(line for line in lines if line.startswith("process ")).split()[1] == "12"
    assert "otlp: connection refused" in lines


def test_wide_terminals_show_latency_and_what_samplers_left_out() -> None:
    """80 columns have room for quantiles and for every way a row can go."""
    lines = drawn(status(), board(), 80, 24)
    file = next(line for line in lines if line.startswith("file"))
    assert "10 ms" in file
    assert "100 ms" in file
    assert "sampled out" in "".join(lines)


def test_the_last_rows_stand_in_for_important_ones() -> None:
    """Where nothing is of severity warn, the last rows are shown."""
    quiet = drawn(status(), board(severity=9), 80, 40)
    assert "last rows" in quiet
    assert "important rows: 3" in drawn(status(), board(), 80, 40)


def test_the_displays_own_sink_is_left_out() -> None:
    """Nobody asked for the sink that feeds the display."""
    said = status()
    said["sinks"]["tapio-terminal"] = sink({"process": branch(passed=5)})
    assert not any("tapio-terminal" in line for line in drawn(said, board(), 120, 40))


def test_a_flood_is_put_into_words_in_part() -> None:
    """Of a large batch only the end is remembered, and all of it is counted."""
    seen = board(rows=5_000)
    assert len(seen.last(99)) == len(seen.important(99)) == A_BATCH
    assert seen.noticed == 5_000
    assert seen.topics == {"process.exit": 5_000}
    for _ in range(50):
        seen.take(counting("process.exit", 5_000, severity=13))
    assert [e.severity for e in seen.important(10)] == [13] * 10
    for _ in range(2 * KEEP):
        seen.take(counting("process.exit", 1, severity=13))
    assert len(seen.important(10_000)) == len(seen.last(10_000)) == KEEP


def test_rows_of_several_kinds_keep_their_order() -> None:
    """Batches are put into words together with those that are alike, and shown as they came."""
    seen = Board()
    for n in range(6):
        seen.take(counting(("a.b", "c.d")[n % 2], 2, start=10 * n))
    assert [f"{e.topic} {e.text}" for e in seen.last(5)] == [
        "c.d n=31",
        "a.b n=40",
        "a.b n=41",
        "c.d n=50",
        "c.d n=51",
    ]


def test_an_event_names_its_entity_and_hides_control_characters() -> None:
    """A row in words has its columns and its entity's attributes, escaped."""
    table = EntityTable()
    table.add(0, {"k8s.pod.name": "web-1"})
    batch = counting("process.exec", 1, severity=13, comm=["a\x1b]0;x\x07"])
    seen = Board()
    seen.take(batch.with_columns({ENTITY: np.zeros(1, np.int32)}, table))
    assert seen.important(1)[0].text == r'comm="a\u001b]0;x\u0007" k8s.pod.name=web-1 n=0'


def test_counts_are_of_sources_sinks_and_topics() -> None:
    """Rates are made for all three."""
    said = counts(status(), board())
    assert said["source process"] == 1_200
    assert said["sink file"] == 1_000
    assert said["topic process.exit"] == 3


def test_a_picture_is_taken_away() -> None:
    """Closing clears the table and shows the cursor."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24, color_system=None)
    picture = Picture(board(), console)
    picture.show(status())
    assert "process" in out.getvalue()
    picture.show(status(sources={"process": source(taken=2_000)}))
    picture.close()
    assert out.getvalue().rstrip().endswith("\x1b[2K")
    assert "\x1b[?25h" in out.getvalue()


def test_rates_are_means_over_some_seconds() -> None:
    """A rate is what came in the last seconds, not since the start."""
    rates = Rates()
    assert Rates().look(0.0, {"a": 7}) == {"a": 0.0}
    assert rates.look(1.0, {"a": 100}) == {"a": 100.0}
    for second in range(2, 20):
        found = rates.look(float(second), {"a": 100, "b": 10 * second})
    assert found == {"a": 0.0, "b": 10.0}
