"""Snapshots: what a stage remembers over a restart, and what happens to a damaged one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tapio.engine.snapshots import MAX_BYTES, Snapshots
from tapio.model.errors import DecodeError


class Memory:
    """A stage that remembers a number."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def snapshot(self) -> bytes:
        """Version 1 and the number."""
        return f"1:{self.number}".encode()

    def restore(self, state: bytes) -> None:
        """Only version 1."""
        version, _, number = state.decode(errors="replace").partition(":")
        if version != "1":
            raise DecodeError("an older version")
        self.number = int(number)


class Breaks(Memory):
    """A stage whose snapshot fails."""

    def snapshot(self) -> bytes:
        """Always."""
        raise RuntimeError("no snapshot today")


def snapshots(folder: Path, **stages: Any) -> Snapshots:
    """Of these stages."""
    return Snapshots(folder / "snapshots", stages, logging.getLogger("test"))


def test_state_is_saved_and_restored(tmp_path: Path) -> None:
    """Each stage gets back what it saved; a new stage starts as it is."""
    snapshots(tmp_path, a=Memory(7), b=Memory(8)).save()
    a, b, c = Memory(), Memory(), Memory(9)
    snapshots(tmp_path, a=a, b=b, c=c).restore()
    assert (a.number, b.number, c.number) == (7, 8, 9)
    assert sorted(p.name for p in (tmp_path / "snapshots").iterdir()) == ["a.state", "b.state"]


@pytest.mark.parametrize("state", [b"0:5", b"", b"\xff\xfe", b"1:x", b"1:5" + b" " * MAX_BYTES])
def test_a_damaged_state_means_a_fresh_start(
    tmp_path: Path, state: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Older, damaged, oversized, or an error of the stage's own: a fresh start, and it is said."""
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots/a.state").write_bytes(state)
    a = Memory()
    snapshots(tmp_path, a=a).restore()
    assert a.number == 0
    assert "a starts afresh" in caplog.text


def test_a_stage_that_cannot_save_disturbs_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A snapshot that fails is said, and the others are saved."""
    snapshots(tmp_path, a=Breaks(), b=Memory(8)).save()
    assert "the state of a was not saved: no snapshot today" in caplog.text
    b = Memory()
    snapshots(tmp_path, b=b).restore()
    assert b.number == 8


def test_a_save_that_fails_leaves_the_last_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving replaces by rename: a full disk leaves the state of before."""
    snapshots(tmp_path, a=Memory(7)).save()
    monkeypatch.setattr(Path, "write_bytes", _full)
    snapshots(tmp_path, a=Memory(8)).save()
    assert "No space left on device" in caplog.text
    a = Memory()
    snapshots(tmp_path, a=a).restore()
    assert a.number == 7


def _full(path: Path, data: bytes) -> int:
    raise OSError(28, "No space left on device")
