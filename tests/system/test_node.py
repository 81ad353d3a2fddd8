"""The command on a real node: the sample file as it is, and a user without any privilege."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from tests.cli.running import figures
from tests.specs import SAMPLE
from tests.system.collector import Collector

pytestmark = pytest.mark.kernel

PATIENCE_S = 60.0


async def tapio(folder: Path, *words: str, before: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command, run in ``folder`` while processes start.

    It runs on the loop that the test runs on.
    """
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    told = ("OTEL_", "XDG_", "TAPIO_")
    bare = {k: v for k, v in os.environ.items() if not k.startswith(told)}
    process = await asyncio.create_subprocess_exec(
        *(*before, sys.executable, "-m", "tapio", *words, "--listen", "off", "--loop", loop),
        cwd=folder,
        env=bare | {"XDG_STATE_HOME": str(folder / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S), busy():
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def busy() -> AsyncIterator[None]:
    """Processes that live for more than a second, one after another."""

    async def start() -> None:
        while True:
            child = await asyncio.create_subprocess_exec("sleep", "1.2")
            try:
                await asyncio.sleep(0.1)
            finally:
                reaping.append(child)

    reaping: list[asyncio.subprocess.Process] = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(start())
        yield
        task.cancel()
    for child in reaping:
        await child.wait()


def rows(folder: Path) -> dict[str, int]:
    """Rows by topic of the files in ``folder``."""
    found: dict[str, int] = {}
    for path in folder.glob("*.arrows"):
        with pa.ipc.open_stream(path) as reader:
            topic = path.name.rpartition("-")[0].rpartition("-")[0]
            found[topic] = found.get(topic, 0) + reader.read_all().num_rows
    return found


@pytest.mark.system
async def test_the_sample_file_runs_as_it_is(tmp_path: Path) -> None:
    """From the kernel into files and into a real Collector, each row counted at both."""
    (tmp_path / "sample.yaml").write_text(SAMPLE)
    collector = Collector(tmp_path, 4318)
    async with collector.running():
        code, out, err = await tapio(tmp_path, "run", "-c", "sample.yaml", "--for", "3s")
    assert code == 0, err
    (taken,) = figures(out, "taken")
    (sampled,) = figures(out, "sampled_out")
    assert figures(out, "imbalance") == [0, 0, 0]
    assert figures(out, "delivered") == [taken - sampled] * 2
    kept = rows(tmp_path / "out")
    assert set(kept) == {"process.exec", "process.exit"}
    assert sum(kept.values()) == taken - sampled == len(collector.records())
    assert {record["eventName"] for _, record, _ in collector.records()} == set(kept)


async def test_an_ordinary_user_watches_proc(tmp_path: Path) -> None:
    """Without a capability, and without a word of how: it says what is missing, and goes on."""
    bare = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    code, out, err = await tapio(tmp_path, "--for", "4s", before=bare)
    assert code == 0, err
    assert "CAP_BPF and CAP_PERFMON are missing" in err
    assert "reading /proc instead" in err
    assert figures(out, "imbalance") == [0, 0]
    kept = rows(tmp_path / "state/tapio/rows")
    assert {"process.start", "process.end", "tcp.counters"} <= set(kept)
    assert [sum(kept.values())] == figures(out, "delivered")
