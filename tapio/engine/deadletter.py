"""``DeadLetterFolder``: where rows go that no sink will ever take (rules 11 and 21).

One file a burial, ``TOPIC-TIME-ID.arrows``: an Arrow stream of one batch whose schema
metadata carries ``tapio.reason``, ``tapio.stage`` and ``tapio.source``.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from pathlib import Path

import pyarrow as pa

from tapio.home import expanded
from tapio.model.batch import Batch
from tapio.model.policy import DeadLetters


class DeadLetterFolder:
    """Durable, capped dead letters. What it cannot keep it says so of, and is then dropped."""

    def __init__(self, policy: DeadLetters, folder: Path) -> None:
        self.folder = expanded(policy.path) if policy.path else folder
        self._max_bytes = policy.max_bytes
        self._used = -1
        self._lock = threading.Lock()

    async def bury(self, batch: Batch, source: str, stage: str, reason: str) -> bool:
        """Whether the rows are on disk, synced. Cancelled, it may have written them anyway."""
        return await asyncio.to_thread(self._write, batch, source, stage, reason)

    def _write(self, batch: Batch, source: str, stage: str, reason: str) -> bool:
        said = {"tapio.reason": reason, "tapio.stage": stage, "tapio.source": source}
        content = _stream(batch.to_arrow(), said)
        # Drawn, not counted: after a restart a container has its process id and rows again.
        name = f"{batch.topic}-{batch['time_ns'][0]}-{secrets.token_hex(8)}.arrows"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._reserve(len(content)):
                return False
            _publish(self.folder / name, content)
        except OSError:
            with self._lock:
                self._used = -1  # look again what is there
            return False
        return True

    def _reserve(self, size: int) -> bool:
        """Whether ``size`` bytes more may be kept; several threads ask."""
        with self._lock:
            if self._used < 0:
                self._used = sum(p.stat().st_size for p in self.folder.glob("*.arrows"))
            if self._used + size > self._max_bytes:
                return False
            self._used += size
            return True


def _stream(rows: pa.RecordBatch, said: dict[str, str]) -> pa.Buffer:
    schema = rows.schema.with_metadata({**(rows.schema.metadata or {}), **said})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(rows.columns, schema=schema))
    return sink.getvalue()


def _publish(path: Path, content: pa.Buffer) -> None:
    """Write beside it, sync, rename, sync the name: a reader sees the whole file or none."""
    part = path.with_suffix(".part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
