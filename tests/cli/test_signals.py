"""Signals of a run: the first drains, the second ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.running import WAIT_S, Start, ended, figures, until, writing


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


@pytest.mark.parametrize("module", ["numpy", "asyncio", "tapio.engine.run"])
def test_a_ctrl_c_while_it_still_imports_is_no_traceback(module: str) -> None:
    """Half a second passes before a run can drain; until then it ends at once, exit 130."""
    program = (
        "import os, signal, sys\n"
        "class Impatient:\n"
        "    def find_spec(self, name, *more):\n"
        f"        if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Impatient())\n"
        "from tapio.cli.main import main\n"
        "sys.exit(main(['run', '--profile', 'procfs', '--for', '60s', '--listen', 'off']))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


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
