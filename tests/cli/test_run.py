"""``tapio run`` as supervisors meet it: its end, its exit codes, its endpoints."""

from __future__ import annotations

import ctypes
import errno
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tapio.cli.figures import TERMINAL
from tapio.cli.run import seconds
from tests.cli.running import CONFIG, WAIT_S, Start, ended, figures, until, writing


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


def test_every_account_stands_there_from_the_start(start: Start, config: Path) -> None:
    """A source that gave nothing has taken 0, and 0 were delivered."""
    words = ("--set", "sources.0.rate=0.001", "--for", "200ms", "--listen", "off")
    code, out, err = ended(start("run", "-c", config, *words))
    assert code == 0, err
    assert figures(out, "taken") == figures(out, "delivered") == [0]


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
    """A warning, and the run goes on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        process = start("run", "-c", config, "--listen", where, "--quiet")
        assert process.stderr is not None
        assert f"cannot listen at http://{where}" in process.stderr.readline()
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0


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


def test_without_privilege_the_default_pipeline_reads_proc(start: Start, tmp_path: Path) -> None:
    """It says what eBPF lacks, goes on without, and puts its rows into the state folder."""
    words = ("--for", "2s", "--listen", "off", "--state-dir", tmp_path / "mine")
    code, out, err = ended(start(*words, preexec_fn=unprivileged))
    assert code == 0, err
    assert "eBPF cannot be used: CAP_BPF and CAP_PERFMON are missing" in err
    assert "reading /proc instead" in err
    assert figures(out, "taken") == figures(out, "passed")[:1] != [0]
    assert list((tmp_path / "mine" / "rows").glob("*.arrows"))


def test_a_refusal_of_the_kernel_is_no_end_of_the_default_pipeline(
    environ: dict[str, str],
) -> None:
    """What looks as if it could be loaded and is refused is exchanged for /proc, and said."""
    program = (
        "import sys; from tapio.kernel import capability; capability.missing = list\n"
        "from tapio.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--for", "1s", "--listen", "off"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        preexec_fn=unprivileged,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "eBPF cannot be used: " in done.stderr
    assert re.search(r"^source +procfs$", done.stdout, re.MULTILINE)


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


@pytest.mark.parametrize(
    ("text", "value"),
    [("500ms", 0.5), ("10s", 10), ("2m", 120), ("1.5h", 5400), ("1d", 86400), ("7", 7)],
)
def test_durations_are_read(text: str, value: float) -> None:
    """Each unit, and seconds without one."""
    assert seconds(text) == value
