"""The console: safe lines on whatever stdout is, and a quiet end when nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from tapio.model.errors import ConfigError, EndOfStream, Retryable
from tapio.sinks.console import Console, coloured
from tests.batches import counting
from tests.contexts import context

LINE = b"2023-11-14T22:13:20.000Z INFO  a n=0\n"


@contextlib.contextmanager
def as_stdout(fd: int, encoding: str = "utf-8") -> Iterator[TextIO]:
    """Make ``fd`` the process's stdout, and close it afterwards."""
    with os.fdopen(fd, "w", encoding=encoding) as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield stream


async def written(spec: Console, rows: int = 1) -> None:
    """One batch through the sink."""
    async with spec.open(context()) as write:
        await write(counting("a", rows))


async def test_a_pipe_gets_plain_lines() -> None:
    """Into a pipe: no colours, no cut, each row a line."""
    out, into = os.pipe()
    with as_stdout(into):
        await written(Console())
    assert os.read(out, 1000) == LINE
    os.close(out)


async def test_json_and_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """The format and the stream are as configured."""
    await written(Console("json", stream="stderr"), rows=2)
    said = capfd.readouterr()
    assert said.out == ""
    assert [json.loads(line)["n"] for line in said.err.splitlines()] == [0, 1]


async def test_what_was_printed_before_comes_first(capfd: pytest.CaptureFixture[str]) -> None:
    """Text that still waits in Python's own buffer is not overtaken."""
    sys.stdout.write("before\n")
    await written(Console())
    assert capfd.readouterr().out == "before\n" + LINE.decode()


async def test_a_stream_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook's stdout, or a test's, takes text."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    await written(Console())
    assert stream.getvalue() == LINE.decode()


class Terminal:
    """A real pseudo terminal of some width."""

    def __init__(self, width: int) -> None:
        self.screen, self.fd = pty.openpty()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))

    def read(self) -> bytes:
        """What it shows so far."""
        return os.read(self.screen, 1 << 16)


@pytest.fixture(params=[40, 200])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal that can show colours."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = Terminal(request.param)
    yield made
    os.close(made.screen)


async def test_a_terminal_gets_colours_and_its_width(terminal: Terminal) -> None:
    """Severities are coloured; no line is wider than the terminal, which may have 40 columns."""
    width = os.get_terminal_size(terminal.fd).columns
    batch = counting("some.topic", 1, severity=17, who=["x" * 500])
    with as_stdout(terminal.fd):
        async with Console().open(context()) as write:
            await write(batch)
            shown = terminal.read().decode().rstrip("\r\n")
    assert "\x1b[31mERROR\x1b[0m" in shown
    plain = shown.replace("\x1b[31m", "").replace("\x1b[0m", "")
    assert len(plain) == width
    assert plain.endswith("...")


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours(terminal: Terminal, environ: dict[str, str]) -> None:
    """Who asks for none gets none, on a terminal too."""
    with os.fdopen(terminal.fd, "w") as stream:
        assert coloured(stream, {"TERM": "xterm"})
        assert coloured(stream, {"TERM": "xterm", "NO_COLOR": ""})
        assert not coloured(stream, environ)


async def test_the_shells_terminal_stays_blocking(terminal: Terminal) -> None:
    """The open file that we share with the shell is not made non-blocking."""
    with as_stdout(terminal.fd):
        async with Console().open(context()) as write:
            await write(counting("a", 1))
            assert not fcntl.fcntl(terminal.fd, fcntl.F_GETFL) & os.O_NONBLOCK


async def test_a_hung_up_terminal_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the terminal is closed the sink wants no more rows."""
    made = Terminal(80)
    with as_stdout(made.fd):
        async with Console().open(context()) as write:
            os.close(made.screen)
            with pytest.raises(EndOfStream):
                await write(counting("a", 1))


@pytest.mark.parametrize("early", [True, False])
async def test_a_reader_that_has_gone_is_the_end(early: bool) -> None:
    """``| head``: Write raises EndOfStream, be it before the first line or in the middle."""
    out, into = os.pipe()
    with as_stdout(into):
        if early:
            os.close(out)
        async with Console().open(context()) as write:
            if not early:
                await write(counting("a", 1))
                os.close(out)
            with pytest.raises(EndOfStream):
                await write(counting("a", 10_000))


async def test_a_slow_reader_blocks_nobody_else() -> None:
    """A full pipe holds the batch back while the loop goes on; then each line arrives whole."""
    out, into = os.pipe()
    turns = 0
    received = b""
    with as_stdout(into):
        async with Console().open(context()) as write, asyncio.TaskGroup() as tasks:
            writing = [tasks.create_task(write(counting("a", 5000))) for _ in range(3)]
            while turns < 20:
                turns += 1
                await asyncio.sleep(0.005)
            assert not any(task.done() for task in writing)
            while not all(task.done() for task in writing):
                received += os.read(out, 30_000)
                await asyncio.sleep(0)
    received += os.read(out, 1 << 20)
    os.close(out)
    numbers = [int(line.rpartition(b"n=")[2]) for line in received.splitlines()]
    assert numbers == [*range(5000)] * 3


async def test_a_cancelled_write_leaves_no_watch() -> None:
    """Cancelled at a full pipe, the sink closes and the loop watches nothing of it any more."""
    out, into = os.pipe()
    with as_stdout(into):
        async with Console().open(context()) as write:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await write(counting("a", 20_000))
        os.read(out, 1 << 20)
        await asyncio.sleep(0.01)
        await written(Console())
        assert os.read(out, 1 << 20).endswith(LINE)
    os.close(out)


def open_files() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_its_own_file_is_closed() -> None:
    """However often it is opened, nothing stays open."""
    out, into = os.pipe()
    with as_stdout(into):
        before = open_files()
        for _ in range(3):
            await written(Console())
        assert open_files() == before
    os.close(out)


async def test_a_full_disk_is_retryable() -> None:
    """``> file`` on a full disk: the rows are held, and it is said why."""
    with as_stdout(os.open("/dev/full", os.O_WRONLY)):
        async with Console().open(context()) as write:
            with pytest.raises(Retryable, match="No space left on device"):
                await write(counting("a", 1))


async def test_a_file_is_appended_to(tmp_path: Path) -> None:
    """``> file`` keeps what was written through the same open file before."""
    fd = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    os.write(fd, b"before\n")
    with as_stdout(fd):
        await written(Console())
    assert (tmp_path / "out").read_bytes() == b"before\n" + LINE


async def test_a_closed_stream_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """``>&-``: a sentence instead of a traceback."""
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ConfigError, match="stdout is closed"):
        await written(Console())


PROGRAM = """
import asyncio, sys
from tests.batches import counting
from tests.contexts import context
from tapio.sinks.console import Console

async def main():
    async with Console(sys.argv[1]).open(context()) as write:
        await write(counting("a", 1, who=["\\u20ac\\x1b[31m"]))

asyncio.run(main())
"""


@pytest.mark.parametrize("format", ["text", "json"])
def test_another_encoding_gets_codes(format: str) -> None:
    """Where stdout takes only ASCII, other characters are written as codes."""
    environ = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii", "LANG": "C"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, format], env=environ, capture_output=True, check=True
    )
    assert b'"\\u20ac\\u001b[31m"' in done.stdout
    assert done.stdout.isascii()
    assert done.stderr == b""
