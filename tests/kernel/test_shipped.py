"""The objects in the package are what the C beside them makes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kernel.running import BPF

pytestmark = pytest.mark.kernel


def make(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    """Run make in a copy of bpf/."""
    return subprocess.run(
        ["make", "-C", str(folder / "bpf"), target], capture_output=True, text=True
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """bpf/ and the shipped objects, in another folder."""
    ignored = shutil.ignore_patterns("build")
    shutil.copytree(BPF, tmp_path / "bpf", ignore=ignored)
    shipped = "tapio/kernel/objects"
    shutil.copytree(BPF.parent / shipped, tmp_path / shipped)
    return tmp_path


def test_objects_are_rebuilt_byte_for_byte_in_any_folder(copied: Path) -> None:
    """The check passes in a folder of another name: no path of the builder is in an object."""
    done = make(copied, "check")
    assert done.returncode == 0, done.stderr


def test_the_check_sees_a_changed_program(copied: Path) -> None:
    """One changed constant is a difference."""
    source = copied / "bpf" / "process.bpf.c"
    source.write_text(
        source.read_text().replace("#define FILE_BYTES 256", "#define FILE_BYTES 248")
    )
    assert make(copied, "check").returncode != 0


def test_every_program_has_its_object() -> None:
    """No source without an object, no object without a source."""
    sources = {path.name.removesuffix(".bpf.c") for path in BPF.glob("*.bpf.c")}
    shipped = (BPF.parent / "tapio/kernel/objects").glob("*.bpf.o")
    assert sources == {path.name.removesuffix(".bpf.o") for path in shipped}
