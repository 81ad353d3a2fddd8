"""The command as a process, on pipes or on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAIT_S = 30.0
"""The most that anything here takes on a machine with other work."""

Start = Callable[..., subprocess.Popen[str]]

CONFIG = """\
pipeline: test
sources:
  - type: synthetic
    topic: made.up
    rate: 1000
sinks:
  - type: file
    path: {out}
    max_age_s: 0.1
{more}
settings:
  drain_s: 20
"""

AWAY = """\
  - type: otlp
    endpoint: http://127.0.0.1:9
"""
"""A collector that is not there: port 9 (discard) refuses."""


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) once it has ended by itself."""
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, out or "", err or ""


def until(done: Callable[[], object]) -> Any:
    """What ``done`` says, once it says something."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if said := done():
            return said
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")


def writing(tmp_path: Path) -> Callable[[], bool]:
    """Whether rows have reached the files: the pipeline runs."""
    return lambda: any(p.stat().st_size > 1_000 for p in (tmp_path / "out").glob("*.part"))


def figures(page: str, name: str) -> list[int]:
    """The figures of one line of the ledger, over all its tables."""
    lines = re.findall(rf"^[ =+] {name} +([\d, ]+)$", page, re.MULTILINE)
    return [int(n.replace(",", "")) for line in lines for n in line.split()]


class Terminal:
    """A run on a terminal of its own."""

    def __init__(self, command: list[str], environ: dict[str, str], columns: int) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            os.execvpe(command[0], command, environ)
        self.seen = ""

    def read(self) -> bool:
        """Take what was written; False at the end."""
        try:
            data = os.read(self._fd, 65_536)
        except OSError:
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)

    def until(self, text: str) -> None:
        """Read up to ``text``."""
        deadline = time.monotonic() + WAIT_S
        while text not in self.seen and time.monotonic() < deadline and self.read():
            pass
        assert text in self.seen

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._fd, keys)

    def end(self) -> int:
        """Read to the end; the exit code."""
        while self.read():
            pass
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def lines(self) -> list[str]:
        """What was drawn, without what moves the cursor or changes colours."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen).replace("\r", "\n").splitlines()


def on_terminal(
    environ: dict[str, str], *words: object, columns: int = 80, **more: str
) -> Terminal:
    """The command on a terminal."""
    command = [sys.executable, "-m", "tapio", *map(str, words)]
    return Terminal(command, environ | more, columns)
