"""Rows as an agent makes them: from a mapped ring, with identity, past the sampler."""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import cast

from opentelemetry.metrics import NoOpMeter

from benchmarks.rings import Filled, filled
from tapio.engine.clock import SystemClock
from tapio.engine.setting import contexts, origin
from tapio.enrich.cgroup import Cgroup
from tapio.kernel.reader import MOST_ROWS
from tapio.model.batch import Batch
from tapio.model.plan import Plan
from tapio.model.policy import Settings
from tapio.model.stage import Context, Lookup
from tapio.sample.adaptive import Adaptive

CGROUPS = 300
RESOURCE = {"service.instance.id": "bench"}
"""The same in every process, so that what two of them send can be compared."""
ROWS = 8192
"""Rows of a batch: what the OTLP sink takes by default, and two full drains."""
SEEDS = (1, 2, 3, 4)
"""Rings of different rows, taken in turn: no stage may live on what it saw just before."""


class Line:
    """Drain, ``enrich.cgroup``, ``sample.adaptive`` with a target above the rate."""

    def __init__(self, cx: Context, rings: Sequence[Filled], known: Lookup) -> None:
        self.cx = cx
        self._rings = cycle(rings)
        self._ring = next(self._rings)
        self._known = known
        self._sampler = Adaptive(target_per_s=1e9, seed=1).start(cx)
        self._now_ns = cx.clock.time_ns()

    def drain(self) -> Batch:
        """The rows of the next drain, named and sampled."""
        while (batch := self._ring.topic.take(self.cx)) is None:
            self._ring = next(self._rings)
            self._ring.rewind()
        named = self._known.look(batch, final=False)
        self._now_ns += batch.rows * 1_000  # a million rows a second
        return self._sampler.step(cast(Batch, named), self._now_ns)

    def batch(self) -> Batch:
        """The next ``ROWS`` rows, as a sink's re-batching joins them."""
        return Batch.concat([self.drain() for _ in range(ROWS // MOST_ROWS)])


async def line(root: Path, topic: str, argv: Sequence[bytes] = (b"/usr/bin/true\0",)) -> Line:
    """The line for ``topic`` on the host at ``root``. What ``enrich.cgroup`` has learnt stays."""
    cx = context(root)
    async with Cgroup().open(cx) as known:
        return Line(cx, rings(root, topic, argv), cast(Lookup, known))


def rings(root: Path, topic: str, argv: Sequence[bytes] = (b"/usr/bin/true\0",)) -> list[Filled]:
    """A ring of ``ROWS`` records a seed, whose cgroups are those below ``root``."""
    ids = [d.stat().st_ino for d in sorted(root.rglob("*.scope"))]
    return [filled(topic, ROWS, cgroups=ids, argv=argv, seed=seed) for seed in SEEDS]


def context(root: Path) -> Context:
    """What the engine gives to a stage."""
    settings = Settings(host_root=str(root), state_dir=str(root), resource=RESOURCE)
    plan = Plan("bench", (), (), (), settings)
    return contexts(
        plan,
        clock=SystemClock(),
        stopping=asyncio.Event(),
        pressure=lambda: 0.0,
        meter=NoOpMeter("bench"),
        logger=logging.getLogger("tapio.bench"),
        origin=origin(Path("/")),
    )("otlp")


@contextmanager
def host() -> Iterator[Path]:
    """A folder with a cgroup tree as systemd and containerd make it on a Kubernetes node."""
    drawn = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tree = root / "sys/fs/cgroup"
        for _ in range(CGROUPS):
            pod = f"{drawn.getrandbits(128):032x}"
            uid = "_".join((pod[:8], pod[8:12], pod[12:16], pod[16:20], pod[20:]))
            slice_ = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice"
            (tree / slice_ / f"cri-containerd-{drawn.getrandbits(256):064x}.scope").mkdir(
                parents=True
            )
        (tree / "cgroup.controllers").touch()
        yield root


def command_lines(count: int) -> list[bytes]:
    """``count`` distinct command lines of 10 to 300 bytes, a NUL behind each argument."""
    drawn = random.Random(2)
    lines = []
    for number in range(count):
        size = drawn.randint(10, 300)
        line = f"/bin/app\0{number:x}\0"
        while len(line) < size:
            line += f"--option-{drawn.randint(0, 999)}={drawn.getrandbits(40):x}\0"
        lines.append(line[: size - 1].encode() + b"\0" if size > 15 else line.encode())
    return lines
