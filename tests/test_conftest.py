"""The test set-up itself: leaks fail, and in CI a skip is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

PLANTED = """
import asyncio
import pytest
from tapio.model.ticket import Ticket

async def test_leaves_a_ticket_in_a_cycle():
    keeper = type("Keeper", (), {})()
    keeper.me, keeper.ticket = keeper, Ticket()

def test_cannot_run():
    pytest.skip("no such kernel")

@pytest.mark.xfail(reason="known")
def test_is_known_to_fail():
    assert False

async def test_passes():
    print("loop:", type(asyncio.get_running_loop()).__module__)
"""


def run_planted(folder: Path, **environment: str) -> str:
    """What pytest says about the planted file beside a copy of our conftest."""
    shutil.copy(ROOT / "tests/conftest.py", folder)
    (folder / "test_planted.py").write_text(PLANTED)
    clean = {k: v for k, v in os.environ.items() if k != "CI" and not k.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-s", "-q", "-p", "no:randomly"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean | environment)
    return done.stdout


def test_an_unsettled_ticket_fails_its_test_on_both_loops(tmp_path: Path) -> None:
    """A ticket that nobody settles is an error of the test that lost it."""
    said = run_planted(tmp_path)
    assert "a ticket was never settled" in said
    assert said.splitlines()[-1].startswith("4 passed, 1 skipped, 1 xfailed, 2 errors")
    assert "loop: asyncio" in said
    assert "loop: uvloop" in said


def test_in_ci_a_skip_is_a_failure(tmp_path: Path) -> None:
    """With CI set the skipped test fails, with its reason; the expected failure does not."""
    said = run_planted(tmp_path, CI="true")
    assert "this one did not: Skipped: no such kernel" in said
    assert said.splitlines()[-1].startswith("1 failed, 4 passed, 1 xfailed, 2 errors")
