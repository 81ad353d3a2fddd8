"""``DeadLetterFolder``: where rows go that no sink will ever take (rules 11 and 21).

One file a burial, ``TOPIC-TIME-ID.arrows``: an Arrow stream of one batch whose schema
metadata carries ``tapio.reason``, ``tapio.stage`` and ``tapio.source``.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pyarrow as pa

from tapio.model.batch import Batch
from tapio.model.policy import DeadLetters


class DeadLetterFolder:
    """Durable, capped dead letters. What it cannot keep it says so of, and is then dropped."""

    def __init__(self, policy: DeadLetters, folder: Path) -> None:
        self.folder = Path(policy.path) if policy.path else folder
        self._max_bytes = policy.max_bytes
        self._used = -1
        self._count = 0

    async def bury(self, batch: Batch, source: str, stage: str, reason: str) -> bool:
        """Whether the rows are on disk, synced. Cancelled, it may have written them anyway."""
        return await asyncio.to_thread(self._write, batch, source, stage, reason)

    def _write(self, batch: Batch, source: str, stage: str, reason: str) -> bool:
        said = {"tapio.reason": reason, "tapio.stage": stage, "tapio.source": source}
        content = _stream(batch.to_arrow(), said)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._used < 0:
                self._used = sum(p.stat().st_size for p in self.folder.glob("*.arrows"))
            if self._used + len(content) > self._max_bytes:
                return False
            self._count += 1
            name = f"{batch.topic}-{batch['time_ns'][0]}-{os.getpid()}-{self._count}"
            _publish(self.folder / f"{name}.arrows", content)
        except OSError:
            return False
        self._used += len(content)
        return True


def _stream(rows: pa.RecordBatch, said: dict[str, str]) -> pa.Buffer:
    schema = rows.schema.with_metadata({**(rows.schema.metadata or {}), **said})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(rows.columns, schema=schema))
    return sink.getvalue()


def _publish(path: Path, content: pa.Buffer) -> None:
    """Write beside it, sync, rename: a reader sees the whole file or none."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
