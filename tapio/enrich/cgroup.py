"""``cgroup``: who a row is about, by the cgroup of its subject.

A cgroup's id is its folder's inode number in the unified tree, and the folder's path names
container and pod (``cgroup_path``). The tree is walked when this opens, then on a thread of its
own: when a row has an id that no walk has seen, and now and then to notice what is gone. Rows
with such an id wait for that walk; what it does not find either is gone already, and stays
unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from tapio.enrich.cgroup_path import attributes
from tapio.kernel.host import unified
from tapio.model.batch import Batch
from tapio.model.entities import UNKNOWN, EntityTable
from tapio.model.policy import Seconds
from tapio.model.schema import ENTITY, Field
from tapio.model.stage import Context, Enrich, Later, Lookup, Transform

COLUMN = "cgroup_id"
CGROUPS_MAX = 65_536
"""Folders that a walk looks at: a node has some hundreds, the memory controller takes 65,535."""
ABSENT_MAX = 65_536
"""Ids remembered as gone; beyond that they are forgotten, and looked for again."""
WALK_PAUSE_S = 0.1
"""Walks are this far apart, and ten times as long as one takes: at most a tenth of one core."""
KEPT_S = 60.0
"""A cgroup that is gone is known for this long: its last rows may still be on their way."""

Ids: TypeAlias = npt.NDArray[np.uint64]
_Key: TypeAlias = tuple[tuple[str, str], ...]  # an identity's attributes, sorted


class Cgroup(Enrich, frozen=True, tag="cgroup"):
    """Adds ``entity``: container id, pod UID and QoS class, from the row's ``cgroup_id``.

    Rows without that column pass unchanged. ``refresh_s``: how often the tree is walked when
    no row asks for it.
    """

    adds: ClassVar[tuple[Field, ...]] = (ENTITY,)

    refresh_s: Seconds = 30.0

    @asynccontextmanager
    async def open(self, cx: Context) -> AsyncIterator[Lookup | Transform]:
        """Walk the tree once, and keep up with it until left."""
        root = unified(cx.host_root)
        if root is None:
            cx.logger.warning(
                "no unified cgroup tree below %s: rows keep no identity; mount it (cgroup2) there",
                cx.host_root,
            )
            yield lambda batch: batch
            return
        known = Identities()
        known.learn(await asyncio.to_thread(walk, root), cx.clock.monotonic())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_keep_up(cx, known, root, self.refresh_s))
            yield known
            task.cancel()


async def _keep_up(cx: Context, known: Identities, root: Path, refresh_s: float) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(refresh_s):
                await known.asked.wait()
        began = cx.clock.monotonic()
        known.asked.clear()
        asked = known.waiting()
        known.learn(await asyncio.to_thread(walk, root), cx.clock.monotonic(), asked)
        await asyncio.sleep(max(WALK_PAUSE_S, 10 * (cx.clock.monotonic() - began)))


def walk(root: Path) -> dict[int, str]:
    """Id → path of every cgroup below ``root`` (itself ``/``), at most 65,536 of them."""
    found = {root.stat().st_ino: "/"}
    pending = [""]
    while pending and len(found) < CGROUPS_MAX:
        above = pending.pop()
        for id, name in _children(f"{root}{above}"):
            found[id] = f"{above}/{name}"
            pending.append(f"{above}/{name}")
    return found


def _children(folder: str) -> Iterator[tuple[int, str]]:
    """(inode, name) of the folders in ``folder``; none where it went away meanwhile."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.inode(), entry.name


class Identities:
    """Cgroup id → code in an entity table: 12 ns a row, and nothing else until a new id comes.

    Cgroups of one container (crun and systemd make several) have one code.
    """

    def __init__(self) -> None:
        """Knowing nothing: ``learn`` from a walk."""
        self.asked = asyncio.Event()
        self._table = EntityTable()
        self._known: dict[int, _Key] = {}
        self._gone: dict[int, float] = {}  # since when a known cgroup is not found any more
        self._absent: dict[int, None] = {}  # looked for and never found, oldest first
        self._wanted: set[int] = set()
        self._living: set[_Key] = set()
        self._ids: Ids = np.zeros(1, np.uint64)  # sorted; a source says 0 where it knows none
        self._codes = np.full(1, UNKNOWN, np.int32)

    def look(self, batch: Batch, *, final: bool) -> Batch | Later:
        """``batch`` with ``entity``; rows whose id no walk has seen are to wait for the next."""
        if COLUMN not in batch:
            return batch
        codes, unseen = self._look(np.asarray(batch[COLUMN], np.uint64))
        named = batch.with_columns({ENTITY: codes}, self._table)
        return named if final or not unseen.any() else Later(named, unseen)

    def _look(self, ids: Ids) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """The code of each row, and which rows' ids no walk has seen; asks for those."""
        at = np.searchsorted(self._ids, ids)
        at[at == len(self._ids)] = 0
        codes, unseen = self._codes[at], self._ids[at] != ids
        if unseen.any():
            codes[unseen] = UNKNOWN
            room = ABSENT_MAX - len(self._wanted)
            self._wanted.update(np.unique(ids[unseen])[:room].tolist())
            self.asked.set()
        return codes, unseen

    def waiting(self) -> frozenset[int]:
        """The ids that rows wait for."""
        return frozenset(self._wanted)

    def learn(
        self, found: Mapping[int, str], now_s: float, asked: frozenset[int] = frozenset()
    ) -> None:
        """Take what a walk has ``found``; of ``asked``, what it has not is gone for good."""
        if found.keys() == self._known.keys() and not asked:
            return
        self._forget(found, now_s)
        for id in found.keys() - self._known.keys():
            self._known[id] = tuple(sorted(attributes(found[id]).items()))
        self._wanted -= asked
        absent = self._absent | dict.fromkeys(sorted(asked - self._known.keys()))
        excess = max(0, len(absent) - ABSENT_MAX)
        self._absent = dict.fromkeys(i for i in list(absent)[excess:] if i not in self._known)
        self._number()

    def _forget(self, found: Mapping[int, str], now_s: float) -> None:
        """Let go of what has not been found for a minute."""
        self._gone = {i: self._gone.get(i, now_s) for i in self._known.keys() - found.keys()}
        for id in [i for i, since in self._gone.items() if now_s - since > KEPT_S]:
            del self._gone[id], self._known[id]

    def _number(self) -> None:
        """Give each identity its code, retire those that no cgroup has, sort the ids."""
        living = set(self._known.values())
        for key in self._living - living:
            self._table.retire(key)
        self._living = living
        if self._table.stale:
            self._table = self._table.successor()
        for key in sorted(living):
            if self._table.code(key) == UNKNOWN:
                self._table.add(key, dict(key))
        codes = {i: self._table.code(key) for i, key in self._known.items()}
        codes |= dict.fromkeys((0, *self._absent), UNKNOWN)
        ids = sorted(codes)
        self._ids = np.array(ids, np.uint64)
        self._codes = np.array([codes[i] for i in ids], np.int32)
