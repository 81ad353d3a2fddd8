"""One agent a state folder: two would cut each other's files and mix their snapshots."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tapio.model.errors import ConfigError

ELSEWHERE = "name another folder with --state-dir"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder``, made where it is missing, until left; the kernel lets go at any death.

    Raises ConfigError: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = f"no state can be kept in {folder}: {error.strerror}; {ELSEWHERE}"
        raise ConfigError(reason) from error
    try:
        _hold(lock, folder)
        with suppress(OSError):  # a full disk: the lock holds without a name in it
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def _hold(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        reason = f"another tapio (process {holder}) uses {folder}: stop it, or {ELSEWHERE}"
        raise ConfigError(reason) from error
    except OSError as error:
        reason = f"{folder} cannot be locked: {error.strerror}; {ELSEWHERE}"
        raise ConfigError(reason) from error
