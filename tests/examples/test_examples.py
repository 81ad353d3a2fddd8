"""Each example runs, and shows what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "examples"
SHOWN = {
    "replay_to_frames": r"(?s)severity ┆ len.*commands.*\b50\b.*count +2000",
    "transform": r"(?s)shop\.payment.*thousands=9\.\d",
    "two_pipelines": r"(?s)1 s to go.*1 demo\.fast \d+ bytes\n2 demo\.slow \d+ bytes\n$",
    "watch_proc": r"tcp\.counters .*segments_in",
}
"""What must be found in each one's output."""


@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("*.py")))
def test_an_example_shows_something(name: str, tmp_path: Path) -> None:
    """It ends well, leaks nothing that Python warns of, and prints what it is about."""
    command = [sys.executable, "-W", "error::ResourceWarning", str(FOLDER / f"{name}.py")]
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(SHOWN[name], done.stdout), done.stdout


def test_an_example_is_short_and_says_what_it_shows() -> None:
    """Forty lines at most, and a docstring at the head."""
    texts = [file.read_text() for file in FOLDER.glob("*.py")]
    assert len(texts) >= 4
    assert max(len(text.splitlines()) for text in texts) <= 40
    assert all(text.startswith('"""') for text in texts)
