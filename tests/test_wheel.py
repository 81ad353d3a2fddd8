"""The wheel: pure Python with the compiled objects in it, so that a node needs no compiler."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(folder.glob("*.whl"))


def test_it_is_for_every_platform(wheel: Path) -> None:
    """Nothing is compiled at installation: its tag says any ABI and any platform."""
    assert wheel.name.endswith("-py3-none-any.whl")


def test_it_brings_all_that_is_tracked_below_tapio(wheel: Path) -> None:
    """Modules, BPF objects, profiles, the typing marker and the licence are in it."""
    held = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "tapio"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(listed.stdout.split()) <= held
    assert {"tapio/py.typed", "tapio/kernel/objects/process.bpf.o"} <= held
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_it_runs_where_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    """Installed without its dependencies' sources or this checkout, the command's modules load."""
    target = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True, text=True)
    code = "import tapio.cli.version as v; print(v.__file__, v.version())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(target), "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert str(target) in done.stdout
    assert "tapio 0." in done.stdout
