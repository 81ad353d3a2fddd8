"""What a run shows on terminals and in pipes of any kind."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.running import WAIT_S, Start, ended, figures, on_terminal


def test_a_reader_that_leaves_ends_the_run(environ: dict[str, str], config: Path) -> None:
    """``tapio | head -1``: the line is printed, the run drains, nothing is said of a pipe."""
    line = f"{sys.executable} -m tapio run -c {config} --listen off --for 60s | head -1"
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", f"{line}; echo code ${{PIPESTATUS[0]}}"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    first, code = done.stdout.splitlines()
    assert re.match(r"running|\d\d:\d\d:\d\d", first)
    assert code == "code 0"
    assert time.monotonic() - began < 20
    assert "Traceback" not in done.stderr
    assert "roken" not in done.stderr


def test_nobody_need_read_the_errors(start: Start, config: Path) -> None:
    """A closed stderr and a full device are no reason to fail."""
    with Path("/dev/full").open("w") as full:
        words = ("run", "-c", config, "--for", "500ms", "--listen", "off")
        code, out, _ = ended(start(*words, stderr=full))
    assert code == 0
    assert figures(out, "imbalance") == [0, 0]


def test_a_full_disk_for_what_it_says_is_no_reason_to_stop(
    start: Start, config: Path, tmp_path: Path
) -> None:
    """The rows go on to where they should; only the lines are lost."""
    with Path("/dev/full").open("w") as full:
        process = start("run", "-c", config, "--for", "2s", "--listen", "off", stdout=full)
        began = time.monotonic()
        code, _, err = ended(process)
    assert code == 0
    assert time.monotonic() - began > 2
    assert "Traceback" not in err
    assert list((tmp_path / "out").glob("*.arrows"))


def test_rows_on_stdout_stay_alone(start: Start, tmp_path: Path) -> None:
    """With a console sink, what is for people goes to stderr: the next program reads rows."""
    path = tmp_path / "console.yaml"
    path.write_text(
        "sources: [{type: synthetic, topic: made.up, rate: 100}]\n"
        "sinks: [{type: console, format: json}]\n"
    )
    words = ("run", "-c", path, "--for", "1200ms", "--listen", "off", "--log-format", "text")
    code, out, err = ended(start(*words))
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["topic"] for row in rows} == {"made.up"}
    assert figures(err, "taken") == figures(err, "delivered") == [len(rows)]
    assert "running 1." in err


def test_a_reader_of_rows_that_leaves_ends_the_run(environ: dict[str, str], tmp_path: Path) -> None:
    """``tapio run -c console.yaml | head -1`` is over soon, with exit 0 and a ledger."""
    path = tmp_path / "console.yaml"
    path.write_text("sources: [{type: synthetic, rate: 1000}]\nsinks: [{type: console}]\n")
    line = f"{sys.executable} -m tapio run -c {path} --listen off --for 60s | head -1"
    done = subprocess.run(
        ["bash", "-c", f"{line}; echo code ${{PIPESTATUS[0]}}"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "code 0"
    assert figures(done.stderr, "imbalance") == [0, 0]
    assert "Traceback" not in done.stderr


def test_quiet_says_nothing(start: Start, config: Path) -> None:
    """No line, no ledger, no log below warning; and no sink for a display."""
    words = ("run", "-c", config, "--for", "500ms", "--listen", "off", "--quiet")
    assert ended(start(*words)) == (0, "", "")


def test_logs_are_json_where_nobody_looks(start: Start, config: Path) -> None:
    """Each line of stderr is an object; what people read is on stdout."""
    process = start("run", "-c", config, "--listen", "127.0.0.1:0")
    assert process.stderr is not None
    first = json.loads(process.stderr.readline())
    assert first["message"].startswith("listening at http://127.0.0.1:")
    assert (first["severity"], first["logger"]) == ("INFO", "tapio")
    time.sleep(0.6)  # the first line comes after a second
    process.send_signal(signal.SIGTERM)
    code, out, err = ended(process)
    assert code == 0
    assert [json.loads(line)["severity"] for line in err.splitlines()] == ["INFO"]
    assert re.search(r"^running \d.* s: taken=\d+ rate=", out, re.MULTILINE)


def test_a_terminal_shows_the_live_table(environ: dict[str, str], config: Path) -> None:
    """Drawn in place; Ctrl-C takes it away, drains, prints the ledger, exit 0."""
    terminal = on_terminal(environ, "run", "-c", config, "--listen", "off")
    terminal.until("made.up")
    terminal.until("-----")
    terminal.type(b"\x03")
    assert terminal.end() == 0
    page = "\n".join(terminal.lines)
    assert figures(page, "taken") == figures(page, "delivered")
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")


def test_40_columns_in_ascii(environ: dict[str, str], config: Path) -> None:
    """On a small terminal of LANG=C nothing is wider, and nothing is not ASCII."""
    terminal = on_terminal(
        environ, "run", "-c", config, "--listen", "off", columns=40, LANG="C", NO_COLOR="1"
    )
    terminal.until("file ")
    terminal.type(b"\x03")
    assert terminal.end() == 0
    drawn = [line for line in terminal.lines if "INFO" not in line]
    assert [line for line in drawn if len(line.removesuffix("^C")) > 40] == []
    assert terminal.seen.isascii()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.seen)


def test_a_second_ctrl_c_gives_the_terminal_back(environ: dict[str, str], stuck: Path) -> None:
    """Exit 130 at once, with the cursor shown."""
    terminal = on_terminal(environ, "run", "-c", stuck, "--listen", "off")
    terminal.until("made.up")
    terminal.type(b"\x03")
    terminal.until("stopping: draining")
    terminal.type(b"\x03")
    assert terminal.end() == 130
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")
    assert "tapio: ended at once, without a drain" in terminal.lines


@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_terminal_that_cannot_be_drawn_on_gets_lines(
    environ: dict[str, str], config: Path, more: dict[str, str]
) -> None:
    """No escape sequence is written where none is understood."""
    words = ("run", "-c", config, "--listen", "off", "--for", "1500ms")
    terminal = on_terminal(environ, *words, **more)
    terminal.until("running 1.")
    assert terminal.end() == 0
    assert "\x1b" not in terminal.seen


def test_no_live_gives_lines_on_a_terminal(environ: dict[str, str], config: Path) -> None:
    """--no-live does what it says."""
    words = ("run", "-c", config, "--listen", "off", "--for", "1500ms", "--no-live")
    terminal = on_terminal(environ, *words)
    terminal.until("running 1.")
    assert terminal.end() == 0
    assert "\x1b" not in terminal.seen
