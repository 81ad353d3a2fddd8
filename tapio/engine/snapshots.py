"""Snapshots of stateful stages: one file a stage, replaced by rename."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from tapio.model.errors import DecodeError
from tapio.model.stage import Snapshot

EVERY_S = 60.0
MAX_BYTES = 16 << 20
"""A larger snapshot is not read: the samplers' tables stay far below a mebibyte."""


class Snapshots:
    """Saves and restores what survives a restart, below ``folder``."""

    def __init__(
        self, folder: Path, stages: Mapping[str, Snapshot], logger: logging.Logger
    ) -> None:
        self._folder = folder
        self._stages = stages
        self._logger = logger

    def restore(self) -> None:
        """Give each stage its state back; one that is damaged or older starts afresh, said."""
        for label, stage in self._stages.items():
            path = self._path(label)
            try:
                if path.stat().st_size > MAX_BYTES:
                    raise DecodeError(f"larger than {MAX_BYTES} bytes")
                stage.restore(path.read_bytes())
            except FileNotFoundError:
                continue
            except Exception as error:  # a stage's own may raise anything
                self._logger.warning("%s starts afresh: %s: %s", label, path, error)

    def save(self) -> None:
        """Write each stage's state beside its file and rename it over."""
        for label, stage in self._stages.items():
            path = self._path(label)
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                part = path.with_suffix(".part")
                part.write_bytes(stage.snapshot())
                part.rename(path)
            except Exception as error:  # a stage's own may raise anything
                self._logger.warning("the state of %s was not saved: %s", label, error)

    def _path(self, label: str) -> Path:
        return self._folder / f"{label}.state"
