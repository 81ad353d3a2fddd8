"""``Unified``: a process's path in the unified cgroup tree → its cgroup's id."""

from __future__ import annotations

import os
import posixpath
from collections import deque
from contextlib import suppress
from pathlib import Path

from tapio.kernel.host import unified

FOLDERS_MAX = 65_536
"""Folders looked at for our own cgroup; a node has some hundreds."""


class Unified:
    """The unified tree below a host's root.

    /proc shows paths as seen from the reader's cgroup namespace: in a container with one of
    its own the others are ``/../../…``. Then our own place in the host's tree is looked for,
    by the inode that our namespace's root has, once.
    """

    def __init__(self, host_root: Path) -> None:
        mount = unified(host_root)
        self._root = None if mount is None else os.fsencode(mount)
        self._inside: bytes | None = None

    def resolve(self, path: bytes) -> tuple[bytes, int]:
        """The path from the tree's root, and the id: its folder's inode, 0 where not known."""
        if self._root is None or not path.startswith(b"/"):
            return path, 0
        if path.startswith(b"/.."):
            if self._inside is None:
                self._inside = self._place()
            if not self._inside:
                return path, 0
            path = posixpath.normpath(self._inside + path)
        with suppress(OSError, ValueError):
            return path, os.stat(self._root + path).st_ino  # noqa: PTH116
        return path, 0

    def _place(self) -> bytes:
        """The path of our namespace's root in the host's tree; empty where it is not found."""
        own = unified(Path("/"))
        if own is None or self._root is None:
            return b""
        wanted = os.stat(own).st_ino  # noqa: PTH116 - bytes, which a Path is not made of
        pending, left = deque([b""]), FOLDERS_MAX
        while pending and left > 0:
            above = pending.popleft()
            with suppress(OSError), os.scandir(self._root + above) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left -= 1
                        path = above + b"/" + entry.name
                        if entry.inode() == wanted:
                            return path
                        pending.append(path)
        return b""
