"""``tapio run`` as people and supervisors meet it: a process, its signals, its pipes."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tapio.cli.figures import TERMINAL
from tapio.cli.run import seconds

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


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A pipeline that runs for ever."""
    path = tmp_path / "test.yaml"
    path.write_text(CONFIG.format(out=tmp_path / "out", more=""))
    return path


@pytest.fixture
def stuck(tmp_path: Path) -> Path:
    """One that cannot drain."""
    path = tmp_path / "stuck.yaml"
    path.write_text(CONFIG.format(out=tmp_path / "out", more=AWAY))
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Nothing of the caller's that changes what is said."""
    told = ("LANG", "LC_", "OTEL_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TAPIO_")
    bare = {k: v for k, v in os.environ.items() if not k.startswith(told)}
    return bare | {"XDG_STATE_HOME": str(tmp_path / "state"), "LANG": "C.UTF-8", "TERM": "xterm"}


@pytest.fixture
def start(environ: dict[str, str]) -> Iterator[Start]:
    """Starts the command; kills what is left of it at the end."""
    begun: list[subprocess.Popen[str]] = []

    def tapio(*words: object, **options: Any) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        options["env"] = environ | options.get("env", {})
        process = subprocess.Popen([sys.executable, "-m", "tapio", *map(str, words)], **options)
        begun.append(process)
        return process

    yield tapio
    for process in begun:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


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


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_run_ends_with_a_ledger_that_balances(
    start: Start, config: Path, tmp_path: Path, loop: str
) -> None:
    """After --for, exit 0: what was taken was delivered, and stands in the files."""
    code, out, err = ended(
        start("run", "-c", config, "--for", "700ms", "--listen", "off", "--loop", loop)
    )
    assert code == 0, err
    (taken,) = figures(out, "taken")
    assert taken > 100
    assert figures(out, "delivered") == [taken]
    assert figures(out, "imbalance") == [0, 0]
    assert "sink file: process-crash-safe" in out
    assert TERMINAL not in out
    shown = ended(start("show", tmp_path / "out", "--format", "json"))[1]
    assert len(shown.splitlines()) == taken


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_first_signal_drains(
    start: Start, config: Path, tmp_path: Path, number: signal.Signals, loop: str
) -> None:
    """The sources stop, what is under way is delivered, the ledger is printed, exit 0."""
    process = start("run", "-c", config, "--listen", "off", "--loop", loop)
    until(writing(tmp_path))
    process.send_signal(number)
    code, out, err = ended(process)
    assert code == 0, err
    assert figures(out, "taken") == figures(out, "delivered")
    assert "stopping: draining for at most 20 s" in err
    assert not list((tmp_path / "out").glob("*.part"))


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_second_signal_ends_at_once(
    start: Start, stuck: Path, tmp_path: Path, loop: str
) -> None:
    """A drain that would take long is cut off: exit 130, and that is said."""
    process = start("run", "-c", stuck, "--listen", "off", "--loop", loop)
    until(writing(tmp_path))
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    code, out, err = ended(process)
    assert code == 130
    assert time.monotonic() - began < 2
    assert err.endswith("tapio: ended at once, without a drain\n")
    assert "ledger" not in out


def test_a_loop_that_hangs_ends_at_the_second_signal() -> None:
    """Handlers do not need the loop: a stage that never returns cannot keep the process."""
    program = (
        "from tapio.cli.signals import Signals\n"
        "with Signals():\n    print('in', flush=True)\n    while True: pass"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 130


def test_a_signal_that_is_ignored_stays_ignored(start: Start, config: Path, tmp_path: Path) -> None:
    """Under nohup a hangup is no reason to stop."""

    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start("run", "-c", config, "--listen", "off", preexec_fn=nohup)
    until(writing(tmp_path))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


def test_a_drain_ends_at_its_deadline(start: Start, stuck: Path) -> None:
    """Rows that cannot be delivered in time are counted, not forgotten; exit 0."""
    words = ("--set", "settings.drain_s=0.5", "--for", "500ms", "--listen", "off")
    code, out, err = ended(start("run", "-c", stuck, *words))
    assert code == 0, err
    (taken,) = figures(out, "taken")
    assert figures(out, "delivered") == [taken, 0]
    assert figures(out, "dropped") == [0, 0, taken]
    assert f"dropped {taken:,} of otlp < synthetic: drain_deadline" in out
    assert re.search(r"sink otlp: receiver-accepted, .*last error: ", out)
    assert f"{taken} rows were lost: drain_deadline" in err


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


def test_quiet_says_nothing(start: Start, config: Path) -> None:
    """No line, no ledger, no log below warning; and no sink for a display."""
    words = ("run", "-c", config, "--for", "500ms", "--listen", "off", "--quiet")
    assert ended(start(*words)) == (0, "", "")


def test_logs_are_json_where_nobody_looks(start: Start, config: Path) -> None:
    """Each line of stderr is an object; what people read is on stdout."""
    words = ("run", "-c", config, "--for", "1500ms", "--listen", "127.0.0.1:0")
    code, out, err = ended(start(*words))
    said = [json.loads(line) for line in err.splitlines()]
    assert code == 0
    assert any(s["message"].startswith("listening at http://127.0.0.1:") for s in said)
    assert re.search(r"^running 1\.\d s: taken=\d+ rate=", out, re.MULTILINE)


def test_the_endpoints_are_of_the_run(start: Start, config: Path) -> None:
    """/readyz, /livez, /status and /metrics answer while it runs."""
    process = start("run", "-c", config, "--listen", "127.0.0.1:0", "--log-format", "text")
    url = listening(process)
    assert fetched(f"{url}/readyz") == "ok\n"
    assert fetched(f"{url}/livez") == "ok\n"
    status = json.loads(fetched(f"{url}/status"))
    assert (status["pipeline"], status["state"], status["loop"]) == ("test", "running", "uvloop")
    assert status["imbalance"] == 0
    taken = status["sources"]["synthetic"]["taken"]
    page = fetched(f"{url}/metrics")
    found = re.search(r"tapio_source_taken_rows_total{.*} (\d+)", page)
    assert found is not None
    assert int(found[1]) >= taken > 0
    assert 'tapio_sink_dropped_rows_total{pipeline="test",reason="memory"' in page
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


def listening(process: subprocess.Popen[str]) -> str:
    """Where the endpoints are, once it says so."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"listening at (\S+)$", line):
            return found[1]
    raise AssertionError("it does not listen")


def fetched(url: str) -> str:
    """The body of a page."""
    with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
        return str(answer.read().decode())


def test_a_port_that_is_taken_is_said(start: Start, config: Path) -> None:
    """A warning, and the run goes on to its end."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("run", "-c", config, "--for", "1200ms", "--listen", where, "--quiet")
        code, _, err = ended(start(*words))
    assert code == 0
    assert f"nothing listens at http://{where}" in err


def test_a_second_agent_is_refused(start: Start, config: Path, tmp_path: Path) -> None:
    """One sentence that names the first and says what to do, exit 78; the first is not hurt."""
    first = start("run", "-c", config, "--listen", "off")
    until(writing(tmp_path))
    code, out, err = ended(start("run", "-c", config, "--listen", "off"))
    assert (code, out) == (78, "")
    assert err.count("\n") == 1
    assert f"another tapio (process {first.pid}) uses" in err
    first.send_signal(signal.SIGTERM)
    assert ended(first)[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-c", "{}/none.yaml"], "none.yaml: cannot be read: No such file"),
        (["-c", "{}/bad.yaml"], "bad.yaml:3: sources.0.type: there is no source 'synthetik'"),
        (["-c", "{}/test.yaml", "--set", "sinks.0.max_rows=x"], "sinks.0.max_rows"),
        (["--profile", "defalt"], "there is no profile 'defalt'; did you mean 'default'?"),
        (["-c", "{}/test.yaml", "--state-dir", "/proc/x"], "no state can be kept in /proc/x"),
        (["-c", "{}/test.yaml", "--set", "sinks.0.path=/proc/x"], "/proc/x"),
        (
            ["-c", "{}/test.yaml", "--set", "settings.memory={{soft: 9, hard: 3}}"],
            "must be less than memory.hard",
        ),
    ],
)
def test_a_bad_configuration_is_one_sentence(
    start: Start, config: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    """What is wrong, where, and what to do; exit 78, no traceback, nothing on stdout."""
    (tmp_path / "bad.yaml").write_text(config.read_text().replace("synthetic", "synthetik"))
    code, out, err = ended(start("run", "--quiet", *(w.format(tmp_path) for w in words)))
    assert (code, out) == (78, "")
    assert said in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


def unprivileged() -> None:
    """Take the capabilities from a child of root's that loading programs needs."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (21, 38, 39):  # SYS_ADMIN, PERFMON, BPF
        if libc.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
            assert ctypes.get_errno() == errno.EPERM  # not root: there is nothing to take


def test_no_privilege_for_the_source_is_exit_77(start: Start, tmp_path: Path) -> None:
    """Who asks for eBPF and may not use it is told what is missing."""
    path = tmp_path / "kernel.yaml"
    path.write_text(CONFIG.format(out=tmp_path / "out", more="").replace("synthetic", "process"))
    text = path.read_text().replace("    topic: made.up\n    rate: 1000\n", "")
    path.write_text(text)
    code, out, err = ended(start("run", "-c", path, "--quiet", preexec_fn=unprivileged))
    assert (code, out) == (77, "")
    assert "CAP_BPF" in err
    assert "Traceback" not in err


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


@pytest.mark.parametrize(
    ("text", "value"),
    [("500ms", 0.5), ("10s", 10), ("2m", 120), ("1.5h", 5400), ("1d", 86400), ("7", 7)],
)
def test_durations_are_read(text: str, value: float) -> None:
    """Each unit, and seconds without one."""
    assert seconds(text) == value
