"""The host's files, read below ``host_root``: ``/`` or a read-only mount of them."""

from __future__ import annotations

from pathlib import Path


def unified(host_root: Path) -> Path | None:
    """Where the unified cgroup tree is mounted: alone, or beside the old hierarchies."""
    for place in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
        if (host_root / place / "cgroup.controllers").exists():
            return host_root / place
    return None
