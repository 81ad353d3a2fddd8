"""Pipelines to run as processes, and what starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import AWAY, CONFIG, Start


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
