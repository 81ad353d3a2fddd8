"""Records of the process observer → batches, without a kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.rings import BOOT_TO_WALL, filled
from tapio.observers.process import EXEC, EXIT, Process
from tests.contexts import context

ARGV = [b"/bin/sh\0-c\0true\0", b"\0", b"", b"a" * 511 + b"\0", b"b" * 700, "grüße\0".encode()]
TEXTS = ["/bin/sh -c true", "", "", "a" * 511, "b" * 512, "grüße"]


def test_each_command_line_is_joined_by_spaces_and_cut_at_512_bytes() -> None:
    """Without the last NUL; the length is the whole one's."""
    batch = filled("process.exec", 1000, cgroups=[1], argv=ARGV).topic.take(context())
    assert batch is not None
    said = dict(zip(batch["argv_bytes"].tolist(), batch["argv"].to_pylist(), strict=True))
    assert said == {len(line): text for line, text in zip(ARGV, TEXTS, strict=True)}
    assert batch.schema == EXEC


def test_numbers_of_an_exit_are_in_their_units() -> None:
    """Wall time, lifetime and bytes, from boot time and pages."""
    ring = filled("process.exit", 100, cgroups=range(300))
    rows = ring.topic.ring.drain(100).rows.copy()
    ring.rewind()
    batch = ring.topic.take(context())
    assert batch is not None
    assert batch.schema == EXIT
    assert (batch["time_ns"] == rows["boot_ns"].astype(np.int64) + BOOT_TO_WALL).all()
    assert (batch["lifetime_ns"] == rows["boot_ns"] - rows["start_ns"]).all()
    assert (batch["peak_rss"] == rows["peak_rss_pages"] * 4096).all()
    assert (batch["cgroup_id"] == rows["cgroup_id"]).all()


@pytest.mark.parametrize("topic", ["process.exec", "process.exit"])
def test_a_batch_keeps_less_than_twice_what_it_says(topic: str) -> None:
    """Memory is charged a whole slab, so a batch must not keep a large one for a few bytes."""
    batch = filled(topic, 3000, cgroups=[1], argv=ARGV).topic.take(context())
    assert batch is not None
    assert sum(batch.buffers().values()) < 2.5 * max(batch.size, 88 * 3000)


def test_a_config_is_checked_against_both_schemas() -> None:
    """What the source may give is known before it opens."""
    assert Process.schemas == (EXEC, EXIT)


TAKE = """
import sys
from benchmarks.rings import filled
from tests.contexts import context
for topic in ("process.exec", "process.exit"):
    batch = filled(topic, 10, cgroups=[1]).topic.take(context())
sys.exit("pandas" in sys.modules)
"""


def test_the_first_event_does_not_wait_for_pandas() -> None:
    """Arrow imports it in places, which takes half a second and 40 MiB."""
    done = subprocess.run([sys.executable, "-c", TAKE], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0
