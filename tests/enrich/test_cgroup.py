"""Rows get the identity of their cgroup, from the real tree and from trees made for it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tapio.enrich import cgroup
from tapio.enrich.cgroup import Cgroup, Identities, walk
from tapio.kernel.host import unified
from tapio.model.batch import Batch
from tapio.model.schema import COMMON, Field, Schema
from tapio.model.stage import Later, Lookup
from tapio.observers.process import Process
from tests.batches import counting
from tests.contexts import context
from tests.kernel.running import run

SCHEMA = Schema("t", (*COMMON, Field("cgroup_id", "uint64")))
ID, OTHER = "ab" * 32, "cd" * 32
UID = "0b1f3c6a-2f5e-4d8b-9a7c-1e2d3c4b5a69"


def batch_of(*ids: int) -> Batch:
    """A row for each id."""
    rows = len(ids)
    return Batch(
        SCHEMA,
        {
            "time_ns": np.zeros(rows, np.int64),
            "seq": np.arange(rows, dtype=np.uint64),
            "severity": np.full(rows, 9, np.uint8),
            "cgroup_id": np.array(ids, np.uint64),
        },
    )


def said(batch: Batch) -> list[dict[str, str]]:
    """Each row's identity."""
    assert batch.entities is not None
    return [dict(batch.entities[int(code)]) for code in batch["entity"]]


def looked(known: Identities, *ids: int, final: bool = True) -> list[dict[str, str]]:
    """The identities of ``ids``."""
    answer = known.look(batch_of(*ids), final=final)
    return said(answer if isinstance(answer, Batch) else answer.batch)


def test_rows_get_the_identity_of_their_cgroup() -> None:
    """Containers by id, other groups by path; each distinct identity has one code."""
    known = Identities()
    known.learn({1: "/", 7: f"/docker/{ID}", 8: f"/docker/{ID}/init", 9: "/a.service"}, 0)
    docker = {"container.id": ID, "container.runtime.name": "docker"}
    service = {"process.linux.cgroup": "/a.service"}
    assert looked(known, 7, 9, 8, 7, 1) == [
        docker,
        service,
        docker,
        docker,
        {"process.linux.cgroup": "/"},
    ]
    batch = known.look(batch_of(7, 8), final=False)
    assert isinstance(batch, Batch)
    assert batch["entity"].tolist() == [batch["entity"][0]] * 2


def test_an_id_that_no_walk_has_seen_waits_for_the_next() -> None:
    """Only those rows wait; they are asked for; found or not, they then pass."""
    known = Identities()
    known.learn({5: "/five"}, 0)
    answer = known.look(batch_of(5, 6, 7, 2**64 - 1), final=False)
    assert isinstance(answer, Later)
    assert answer.mask.tolist() == [False, True, True, True]
    assert known.asked.is_set()
    asked = known.waiting()
    assert asked == {6, 7, 2**64 - 1}
    known.learn({5: "/five", 6: "/six"}, 1, asked)
    again = known.look(batch_of(5, 6, 7), final=False)
    assert isinstance(again, Batch)
    assert said(again) == [
        {"process.linux.cgroup": "/five"},
        {"process.linux.cgroup": "/six"},
        {},
    ]
    assert known.waiting() == set()


def test_an_id_asked_for_while_a_walk_is_under_way_waits_for_another() -> None:
    """A walk answers only for what was asked before it began."""
    known = Identities()
    known.learn({}, 0)
    known.look(batch_of(6), final=False)
    asked = known.waiting()
    known.look(batch_of(7), final=False)
    known.learn({}, 1, asked)
    assert isinstance(known.look(batch_of(6), final=False), Batch)
    assert isinstance(known.look(batch_of(7), final=False), Later)


def test_at_last_rows_pass_without_identity() -> None:
    """With ``final`` nothing waits."""
    assert looked(Identities(), 3) == [{}]


def test_a_group_that_is_gone_is_known_for_a_minute() -> None:
    """Its late rows are named; afterwards it is unknown, and its code is never given again."""
    known = Identities()
    known.learn({5: "/five", 6: "/six"}, 0)
    five = known.look(batch_of(5), final=True)
    known.learn({6: "/six"}, 10)
    assert looked(known, 5) == [{"process.linux.cgroup": "/five"}]
    known.learn({6: "/six"}, 10 + cgroup.KEPT_S + 1)
    assert looked(known, 5) == [{}]
    known.learn({6: "/six", 50: "/five"}, 100)
    new = known.look(batch_of(50), final=True)
    assert isinstance(five, Batch)
    assert isinstance(new, Batch)
    assert said(five) == said(new)
    assert five["entity"][0] != new["entity"][0]


def test_tables_do_not_grow_with_what_comes_and_goes() -> None:
    """A thousand short-lived groups end in a table of the living ones, and old batches stay."""
    known = Identities()
    kept = None
    for turn in range(1000):
        now = turn * 100.0
        known.learn({1: "/", turn + 2: f"/docker/{turn:064x}"}, now)
        if turn == 0:
            kept = known.look(batch_of(2), final=True)
    last = known.look(batch_of(1001), final=True)
    assert isinstance(kept, Batch)
    assert isinstance(last, Batch)
    assert last.entities is not None
    assert len(last.entities) < 200
    assert said(kept)[0]["container.id"] == f"{0:064x}"
    assert said(last)[0]["container.id"] == f"{999:064x}"


def test_ids_that_are_never_found_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what is asked for nor what is remembered as gone grows without end."""
    monkeypatch.setattr(cgroup, "ABSENT_MAX", 100)
    known = Identities()
    known.learn({}, 0)
    for start in range(0, 1000, 50):
        known.look(batch_of(*range(start + 1, start + 400)), final=False)
        assert len(known.waiting()) <= 100
        known.learn({}, start, known.waiting())
        assert len(known._absent) <= 100


def test_no_group_is_not_looked_for() -> None:
    """A source that knows no cgroup says 0: such a row does not wait."""
    known = Identities()
    for _ in range(2):
        answer = known.look(batch_of(0), final=False)
        assert isinstance(answer, Batch)
        assert said(answer) == [{}]
        known.learn({7: "/seven"}, 0)
    assert not known.asked.is_set()


def test_a_batch_without_the_column_passes_as_it_is() -> None:
    """Rows that are about no process have no cgroup."""
    batch = counting("t", 3)
    assert Identities().look(batch, final=False) is batch


async def test_without_a_unified_tree_rows_pass_and_it_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No identity is better than a wrong one."""
    async with Cgroup().open(context(host_root=tmp_path)) as stage:
        assert not isinstance(stage, Lookup)
        batch = batch_of(1)
        assert stage(batch) is batch
    assert "no unified cgroup tree below" in caplog.text


def test_a_walk_finds_every_folder_by_its_inode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids are inode numbers; links are not followed; a walk is bounded."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("a")
    expected = {
        tmp_path.stat().st_ino: "/",
        (tmp_path / "a").stat().st_ino: "/a",
        (tmp_path / "a" / "b").stat().st_ino: "/a/b",
    }
    assert walk(tmp_path) == expected
    monkeypatch.setattr(cgroup, "CGROUPS_MAX", 2)
    assert len(walk(tmp_path)) == 2


@contextlib.contextmanager
def made(path: str) -> Iterator[Path]:
    """A cgroup of the running kernel, removed afterwards with its parents."""
    root = unified(Path("/"))
    assert root is not None
    folder = root / path
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        while folder != root:
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()
            folder = folder.parent


def run_in(folder: Path, *argv: str) -> int:
    """Run ``argv`` inside the cgroup; its pid."""
    script = f'echo $$ > {folder}/cgroup.procs && exec "$@"'
    process = subprocess.Popen(["/bin/sh", "-c", script, "sh", *argv])
    assert process.wait() == 0
    return process.pid


_UID = UID.replace("-", "_")
POD = f"kubepods-burstable-pod{_UID}.slice"
SHAPES = [
    (f"kubepods.slice/kubepods-burstable.slice/{POD}/cri-containerd-{ID}.scope", "burstable"),
    (f"kubepods/pod{UID}/{ID}", "guaranteed"),
]


@pytest.mark.kernel
@pytest.mark.parametrize(("path", "level"), SHAPES, ids=["systemd", "cgroupfs"])
async def test_a_process_in_a_pods_cgroup_has_the_pods_identity(path: str, level: str) -> None:
    """From the kernel's own id to container and pod, also after the group is gone."""
    pids: list[int] = []
    with made(path) as folder:
        rows = await run(Process(), lambda: pids.append(run_in(folder, "/bin/true")))
        id = folder.stat().st_ino
        async with Cgroup().open(context()) as stage:
            assert isinstance(stage, Lookup)
            exits = [batch for batch in rows.batches if batch.topic == "process.exit"]
            (mine,) = [b.where(b["pid"] == pids[0]) for b in exits if pids[0] in b["pid"]]
            assert mine["cgroup_id"].tolist() == [id]
            answer = stage.look(mine, final=False)
    assert isinstance(answer, Batch)
    identity = said(answer)[0]
    assert identity["container.id"] == ID
    assert identity["k8s.pod.uid"] == UID
    assert identity["k8s.pod.qos_class"] == level


@pytest.mark.kernel
async def test_a_group_made_after_the_start_is_found_for_its_first_row() -> None:
    """The rows wait for a walk of the tree, which comes within a second."""
    async with Cgroup().open(context()) as stage:
        assert isinstance(stage, Lookup)
        with made(f"docker/{OTHER}") as folder:
            batch = batch_of(folder.stat().st_ino)
            answer = stage.look(batch, final=False)
            assert isinstance(answer, Later)
            began = time.monotonic()
            while isinstance(answer, Later) and time.monotonic() - began < 2:
                await asyncio.sleep(0.05)
                answer = stage.look(batch, final=False)
    assert isinstance(answer, Batch)
    assert said(answer) == [{"container.id": OTHER, "container.runtime.name": "docker"}]
    assert time.monotonic() - began < 1.5


@pytest.mark.kernel
async def test_walks_take_a_bounded_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of ids that never exist do not make it walk without end."""
    walks = 0

    def slow(root: Path) -> dict[int, str]:
        nonlocal walks
        walks += 1
        time.sleep(0.02)
        return {}

    monkeypatch.setattr(cgroup, "walk", slow)
    async with Cgroup().open(context()) as stage:
        assert isinstance(stage, Lookup)
        for id in range(60):
            stage.look(batch_of(id + 1), final=False)
            await asyncio.sleep(0.01)
    assert 2 <= walks <= 5
