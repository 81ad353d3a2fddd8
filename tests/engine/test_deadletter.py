"""Dead letters: durable, readable, capped, and never one over another."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pyarrow as pa
import pytest

from tapio.engine.deadletter import DeadLetterFolder
from tapio.model.batch import Batch
from tapio.model.policy import DeadLetters
from tests.batches import rows_of
from tests.engine.rows import batch


def folder(path: Path, max_bytes: int = 1 << 20) -> DeadLetterFolder:
    """Dead letters below ``path``."""
    return DeadLetterFolder(DeadLetters(max_bytes=max_bytes), path / "dead")


async def test_a_dead_letter_says_who_and_why(tmp_path: Path) -> None:
    """Rule 11: the rows are on disk as they were, with source, stage and reason."""
    assert await folder(tmp_path).bury(batch(5), "process", "otlp", "400: bad field")
    (file,) = (tmp_path / "dead").iterdir()
    assert file.name.startswith("test.row-")
    with pa.ipc.open_stream(file) as reader:
        table = reader.read_all()
    said = table.schema.metadata
    assert (said[b"tapio.source"], said[b"tapio.stage"]) == (b"process", b"otlp")
    assert said[b"tapio.reason"] == b"400: bad field"
    (found,) = table.to_batches()
    assert rows_of(Batch.from_arrow(found)) == rows_of(batch(5))


async def test_none_is_written_over_another(tmp_path: Path) -> None:
    """Two folders of one path, as after a restart in a container, keep each other's letters."""
    first, second = folder(tmp_path), folder(tmp_path)
    for one in first, second, first:
        assert await one.bury(batch(2), "s", "t", "r")
    assert len(list((tmp_path / "dead").iterdir())) == 3


async def test_many_at_once(tmp_path: Path) -> None:
    """Burials of several branches at the same time each leave a letter."""
    one = folder(tmp_path)
    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(one.bury(batch(1), "s", "t", "r"))
    assert len(list((tmp_path / "dead").glob("*.arrows"))) == 50


async def test_the_cap_holds_and_counts_what_was_there(tmp_path: Path) -> None:
    """What would exceed ``max_bytes`` is not durable, also after a restart."""
    assert await folder(tmp_path).bury(batch(1), "s", "t", "r")
    size = sum(p.stat().st_size for p in (tmp_path / "dead").iterdir())
    one = folder(tmp_path, max_bytes=2 * size)
    assert await one.bury(batch(1), "s", "t", "r")
    assert not await one.bury(batch(1), "s", "t", "r")
    assert len(list((tmp_path / "dead").iterdir())) == 2


async def test_what_cannot_be_written_is_not_durable(tmp_path: Path) -> None:
    """Rule 11: a folder that cannot be made, or a full disk, means False, and no half file."""
    (tmp_path / "dead").write_text("a file stands where the folder would be")
    assert not await folder(tmp_path).bury(batch(1), "s", "t", "r")


async def test_a_letter_cut_short_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills while a letter is written keeps no part of it."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert not await folder(tmp_path).bury(batch(1), "s", "t", "r")
    assert list((tmp_path / "dead").iterdir()) == []
