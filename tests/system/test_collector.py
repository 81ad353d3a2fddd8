"""The real engine and the OTLP sink into a real Collector."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tapio.codec.otlp import Encoding
from tapio.engine.run import Engine
from tapio.model.batch import Batch
from tapio.model.entities import EntityTable
from tapio.model.policy import Breaker, Retry, Settings
from tapio.model.schema import ENTITY, Field
from tapio.pipeline import Pipeline
from tapio.sinks import Otlp
from tapio.sinks.otlp_target import Compression
from tapio.testing import Scripted
from tests.batches import counting
from tests.system.collector import collector

pytestmark = pytest.mark.system

SOON = Retry(initial_s=0.05, max_s=0.2)
PATIENT = Breaker(failures=3, reopen_s=0.2)


def odd_rows() -> Batch:
    """Two entities, and in each column what is hardest to write."""
    table = EntityTable()
    codes = [table.add(n, {"k8s.pod.name": f"pod-{n}"}) for n in range(2)]
    made = counting("net.dns", 5, name=["a", None, "x" * 65_536, "ä\n\0", ""])
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    return made.with_columns(
        {
            Field("wide", "int64"): np.array([low, -1, 0, 128, high]),
            Field("share", "float64"): np.array([math.nan, math.inf, -math.inf, 0.1, 1e-300]),
            Field("hash", "uint64"): np.array([0, 1, 127, 2**63 - 1, 2**64 - 1], np.uint64),
            Field("raw", "binary"): pa.array([b"", b"\xff\x00", None, b"x" * 200, b"\x80"]),
            Field("argv", "string"): pa.array(["ls -l", "", None, "y" * 16_384, "z" * 127]),
            Field("ok", "bool"): np.array([True, False, True, False, True]),
            ENTITY: np.array([codes[0], codes[1], codes[0], -1, codes[0]], np.int32),
        },
        table,
    )


def said(batch: Batch, row: int) -> dict[str, Any]:
    """The attributes that a row must arrive with."""
    values = {}
    for field in batch.schema.fields:
        value = batch[field.name][row]
        value = value.item() if isinstance(value, np.generic) else value.as_py()
        if field.name not in ("time_ns", "severity", "entity") and value is not None:
            large = field.type == "uint64" and value >= 2**63
            values[field.otel] = str(value) if large else value
    return values


@pytest.mark.parametrize("encoding", ["compact", "padded"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
async def test_the_collector_writes_the_same_rows(
    encoding: Encoding, compression: Compression, tmp_path: Path
) -> None:
    """What its file exporter says is what the batch said: every type, its extremes, null, NaN."""
    alike = counting("net.dns", 40, start=100, name=["alpha", "beta", "gamma", "delta"] * 10)
    batches, receiver = (odd_rows(), alike), collector(tmp_path)
    sink = Otlp(receiver.url, compression=compression, encoding=encoding)
    plan = Pipeline("p").source(Scripted(batches)).sink(sink)
    engine = Engine(plan.settings(Settings(state_dir=str(tmp_path))).plan)
    async with receiver.running():
        await engine.run()
    written = {
        attributes["n"]: (r, record, attributes) for r, record, attributes in receiver.records()
    }
    assert len(written) == len(receiver.records()) == 45
    for batch in batches:
        for row in range(batch.rows):
            assert_written(batch, row, *written[batch["n"][row]])


def assert_written(batch: Batch, row: int, *found: dict[str, Any]) -> None:
    """The row is the record that was found."""
    resource, record, attributes = found
    assert repr(sorted(attributes.items())) == repr(sorted(said(batch, row).items()))
    assert resource["service.name"] == "tapio"
    entity = {} if batch.entities is None else batch.entities[batch["entity"][row]]
    assert resource.get("k8s.pod.name") == entity.get("k8s.pod.name")
    assert record["eventName"] == "net.dns"
    assert record["severityText"] == "INFO"
    assert int(record["timeUnixNano"]) == batch["time_ns"][row]
    assert int(record["observedTimeUnixNano"]) == batch["time_ns"][row]


async def test_a_collector_may_stop_and_start(tmp_path: Path) -> None:
    """Stopped in mid-stream, away for a while, started again: each row arrives and is counted."""
    batches, rows = 60, 500
    receiver = collector(tmp_path)
    script = [
        step
        for number in range(batches)
        for step in (counting("net.dns", rows, start=number * rows), 0.03)
    ]
    sink = Otlp(receiver.url, max_rows=1000, retry=SOON, breaker=PATIENT, on_full="block")
    plan = Pipeline("p").source(Scripted(tuple(script))).sink(sink)
    engine = Engine(plan.settings(Settings(state_dir=str(tmp_path))).plan)
    async with asyncio.TaskGroup() as group:
        async with receiver.running():
            running = group.create_task(engine.run())
            await asyncio.sleep(0.6)
        await asyncio.sleep(0.6)
        cut = len(receiver.records())
        assert 0 < cut < batches * rows
        assert engine.status()["sinks"]["otlp"]["retries"] > 0
        async with receiver.running():
            await running
    status = engine.status()
    assert status["imbalance"] == 0
    account = status["sinks"]["otlp"]["sources"]["scripted"]
    assert account["delivered"] == account["passed"] == batches * rows
    assert account["held"] == account["refused"] == account["returned"] == 0
    assert sorted({a["n"] for _, _, a in receiver.records()}) == list(range(batches * rows))
