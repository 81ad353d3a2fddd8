"""Paths with ``~``, also where nobody has a home."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tapio.home import expanded
from tapio.model.errors import ConfigError


def test_a_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~`` is the user's, ``~root`` another's; elsewhere in a path it is a character."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/rows") == tmp_path / "rows"
    assert expanded("~root").is_absolute()
    assert expanded("a/~/b") == Path("a/~/b")


def test_no_home_is_one_sentence() -> None:
    """Whose it would be, and what to do."""
    with pytest.raises(ConfigError, match=r"^path: ~nobody-is-called-so/x .* set HOME"):
        expanded("~nobody-is-called-so/x", path="path")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "--profile", "procfs", "--for", "1s"], 78),
        (["validate", "node.yaml"], 78),
        (["run", "--profile", "procfs", "--for", "1s", "--state-dir", "state"], 0),
    ],
)
def test_a_user_id_without_a_name(tmp_path: Path, words: list[str], code: int) -> None:
    """As containers have them: with a folder that is named it runs, else that is asked for."""
    (tmp_path / "node.yaml").write_text(
        "sources: [{type: synthetic}]\nsinks: [{type: file, path: ~/rows}]\n"
    )
    program = (
        "import os, pwd, sys\n"
        "def nobody(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = nobody\n"
        "os.environ.pop('HOME', None); os.environ.pop('XDG_STATE_HOME', None)\n"
        "from tapio.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    quiet = ["--listen", "off", "--quiet"] if words[0] == "run" else []
    command = [sys.executable, "-c", program, *words, *quiet]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert ("set HOME" in done.stderr) == (code == 78)
    assert not (tmp_path / "~").exists()
