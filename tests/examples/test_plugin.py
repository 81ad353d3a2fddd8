"""A third party's package: installed by pip, then used from a config file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent.parent.parent / "examples/plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip has put the package into: beside Tapio, not among it."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PLUGIN, folder / "source")
    target = folder / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


def tapio(installed: Path, state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, run where the package is installed."""
    environment = os.environ | {"PYTHONPATH": str(installed), "XDG_STATE_HOME": str(state)}
    command = [sys.executable, "-m", "tapio", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.timeout(180)
def test_a_strangers_stages_run_from_a_config_file(installed: Path, tmp_path: Path) -> None:
    """About half of a thousand tosses reach the sink, whose count is that of the ledger."""
    done = tapio(installed, tmp_path, "run", "-c", str(PLUGIN / "coins.yaml"), "--listen", "off")
    assert done.returncode == 0, done.stderr
    heads = [line for line in done.stdout.splitlines() if line.endswith(" heads")]
    assert 400 < int(heads[-1].split()[0]) < 600


def test_a_strangers_stages_are_checked_like_ours(installed: Path, tmp_path: Path) -> None:
    """A wrong field of a plugin's stage is an error with its place, and exit 78."""
    config = tmp_path / "wrong.yaml"
    config.write_text((PLUGIN / "coins.yaml").read_text().replace("tosses: 1000", "tosses: many"))
    done = tapio(installed, tmp_path, "validate", str(config))
    assert done.returncode == 78
    assert f"{config}:5" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_the_package_is_small() -> None:
    """A source, a step and a sink take at most 60 lines in all."""
    code = (PLUGIN / "tapio_coins.py").read_text()
    assert all(f"tapio.{kind}, frozen=True" in code for kind in ("Source", "Step", "Sink"))
    assert sum(len(file.read_text().splitlines()) for file in PLUGIN.glob("*.py")) <= 60
