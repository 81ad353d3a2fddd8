"""README's commands and code, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapio.config import load
from tapio.registry import Registry

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of that language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def execute(command: list[str], cwd: Path, state: Path) -> subprocess.CompletedProcess[str]:
    """Run ``command`` with our commands on the path and the state kept below ``state``."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "XDG_STATE_HOME": str(state)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.fixture
def busy() -> Iterator[None]:
    """A machine on which processes start, so that there is something to be seen."""
    over = threading.Event()

    def start() -> None:
        while not over.wait(0.05):
            subprocess.run(["/bin/true"], check=True)

    thread = threading.Thread(target=start)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.kernel
@pytest.mark.parametrize("block", [b for b in blocks("sh") if "tapio" in b])
def test_a_block_of_commands_runs(block: str, tmp_path: Path) -> None:
    """Each line succeeds, in a folder that was empty before."""
    done = execute(["sh", "-eux", "-c", block], tmp_path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.kernel
@pytest.mark.usefixtures("busy")
def test_make_run_watches_this_machine(tmp_path: Path) -> None:
    """The first command says where each row went, and leaves rows behind."""
    block = next(b for b in blocks("sh") if b.startswith("make run"))
    done = execute(["sh", "-eu", "-c", block.replace("10s", "3s")], ROOT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "imbalance 0" in done.stdout
    assert list(tmp_path.glob("tapio/rows/*.arrows"))


def test_make_test_is_a_target() -> None:
    """The second command is the one that has brought us here."""
    assert "make test\n" in blocks("sh")
    done = execute(["make", "--dry-run", "test"], ROOT, ROOT)
    assert "-m pytest" in done.stdout


@pytest.mark.parametrize("block", blocks("python"))
def test_the_code_runs(block: str, tmp_path: Path) -> None:
    """The library's example writes the files that it says."""
    done = execute([sys.executable, "-c", block], tmp_path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("out/*.arrows"))


@pytest.mark.parametrize("block", blocks("yaml"))
def test_the_configuration_is_one(block: str) -> None:
    """The file's every stage and field is known."""
    plan = load(block, registry=Registry.installed())
    assert (len(plan.sources), len(plan.trunk), len(plan.sinks)) == (1, 3, 2)
