"""The host's files."""

from __future__ import annotations

from pathlib import Path

from tapio.kernel.host import unified


def test_the_tree_is_found_alone_or_beside_the_old_ones(tmp_path: Path) -> None:
    """At /sys/fs/cgroup, or at its folder ``unified``, below the host's root."""
    assert unified(tmp_path) is None
    for place in ("sys/fs/cgroup/unified", "sys/fs/cgroup"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "cgroup.controllers").touch()
        assert unified(tmp_path) == tmp_path / place
