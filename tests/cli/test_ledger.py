"""The ledger in text, the lines of a run, and figures for people."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest

from tapio.cli.figures import duration, short, size, totals
from tapio.cli.ledger import page
from tapio.cli.recent import Board
from tapio.cli.report import EVENTS, Lines, closing
from tests.batches import counting
from tests.cli.statuses import branch, sink, source, status


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_both_sides_of_every_account_are_shown(width: int) -> None:
    """Each source and each (sink, source) has a column in which both sides add up."""
    said = status()
    ways = {"dead_lettered": 4, "returned": 5, "held": 6}
    said["sources"]["network"] = source(
        taken=123_456_789, filtered=1, sampled_out=2, absorbed=3, dropped={"a/b": 77}, **ways
    )
    said["sinks"]["file"]["sources"]["network"] = branch(
        passed=123_456_691, recovered=7, skipped=8, refused=9, dropped={"a": 1, "b": 2}, **ways
    )
    lines = list(page(said, width))
    assert all(len(line) <= width for line in lines if not line.startswith(("dropped", "sink ")))
    seen = 0
    for sides in blocks(lines):
        for left, right in zip(sides["left"], sides["right"], strict=True):
            assert left == right > 0
            seen += 1
    assert seen == 5  # two sources, two of them at the file, one at the collector


def blocks(lines: list[str]) -> Iterator[dict[str, list[int]]]:
    """The sum of each side of each column, a table at a time."""
    sides: dict[str, list[int]] = {}
    side = "left"
    for line in lines:
        row = re.fullmatch(r"([ =+] )([a-z_]+)((?: +[\d,]+)+)", line)
        if row is None:
            continue
        numbers = [int(cell.replace(",", "")) for cell in row[3].split()]
        if row[2] == "imbalance":
            yield sides
            sides, side = {}, "left"
            continue
        side = "right" if row[1] == "= " else side
        sums = sides.setdefault(side, [0] * len(numbers))
        sides[side] = [a + b for a, b in zip(sums, numbers, strict=True)]


def test_why_rows_were_lost_and_what_a_sink_promises_is_said() -> None:
    """Reasons for drops, durability, retries, and the last error of a sink in trouble."""
    text = "\n".join(page(status(), 80))
    assert "dropped 100 of otlp < process: drop_oldest" in text
    assert "sink file: process-crash-safe\n" in text
    assert "sink otlp: best-effort, 17 retries, circuit open, last error: connection" in text
    assert "imbalance 0" in text


def test_the_displays_own_sink_has_no_account_in_it() -> None:
    """The page is of what the pipeline names."""
    said = status()
    said["sinks"]["tapio-terminal"] = sink({"process": branch(passed=5)})
    assert "tapio-terminal" not in "\n".join(page(said, 80))


def test_sums_leave_nothing_out() -> None:
    """Totals go over all sources and sinks; a refused row is lost too."""
    said = status()
    said["sinks"]["file"]["sources"]["process"] = branch(passed=1_000, refused=5, held=2)
    sums = totals(said)
    assert (sums.taken, sums.delivered) == (1_200, 993)
    assert (sums.held, sums.lost) == (902, 105)


def test_lines_say_what_is_new() -> None:
    """A line of figures each time, and before it the important rows since the last."""
    out, board = io.StringIO(), Board()
    lines = Lines(out, board)
    lines.show(status())
    assert out.getvalue().startswith("running 12 s: taken=1200 rate=100/s delivered=1000 held=900")
    assert "lost=100; file p99=100ms; otlp open held=900 (connection refused)\n" in out.getvalue()
    board.take(counting("process.exit", 2, severity=17, comm=["a", "b"]))
    lines.show(status(uptime_s=17.0, sources={"process": source(taken=1_700)}))
    new = out.getvalue().splitlines()[1:]
    assert new[0].endswith("ERROR process.exit comm=a n=0")
    assert new[1].endswith("ERROR process.exit comm=b n=1")
    assert new[2].startswith("running 17 s: taken=1700 rate=100/s")
    lines.show(status())
    assert len(out.getvalue().splitlines()) == 5


def test_a_flood_of_important_rows_is_counted() -> None:
    """Only some are shown between two lines; the number of the others is said."""
    out, board = io.StringIO(), Board()
    for _ in range(10):
        board.take(counting("process.exit", 100, severity=17))
    Lines(out, board).show(status())
    shown = out.getvalue().splitlines()
    assert len(shown) == EVENTS + 2
    assert shown[-2] == f"... and {1_000 - EVENTS} more rows of severity warn or above"


def test_nobody_need_read_the_last_words() -> None:
    """A pipe that is closed is no error at the end."""

    class Closed(io.StringIO):
        """A reader that has gone."""

        def write(self, text: str) -> int:
            """Nobody reads."""
            raise BrokenPipeError(32, "Broken pipe")

    closing(Closed(), iter(["a"]))
    out = io.StringIO()
    closing(out, iter(["a", "b"]))
    assert out.getvalue() == "a\nb\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.44, "0.4"),
        (9.96, "10"),
        (12.3, "12"),
        (999, "999"),
        (999.6, "1.0k"),
        (1_000, "1.0k"),
        (12_345, "12.3k"),
        (99_949, "99.9k"),
        (123_456, "123k"),
        (999_950, "1.0M"),
        (4_500_000, "4.5M"),
        (7e9, "7.0G"),
        (5e13, "50.0T"),
        (5e17, "500P"),
    ],
)
def test_numbers_are_short(number: float, text: str) -> None:
    """At most five characters, rounded."""
    assert short(number) == text


def test_times_and_sizes_have_units() -> None:
    """Each in the unit that suits."""
    times = [0.0031, 0.012, 2.5, 59.4, 250, 10_930]
    assert [duration(t) for t in times] == [
        "3.1 ms",
        "12 ms",
        "2.5 s",
        "59 s",
        "4 m 10 s",
        "3 h 2 m",
    ]
    assert size(3 << 20) == "3.0 MiB"
