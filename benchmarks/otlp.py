"""Ring → identity → sampler → OTLP bytes on one core. Goals: 3 M rows/s, with argv 1.5 M.

``tapio``: exits of processes in 300 cgroups. ``tapio-argv3000``: execs with 3,000 command lines.
The baselines make the same bytes of the same rows one at a time, from the drain as well.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, cast

from opentelemetry._logs import LogRecord as ApiRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource

from benchmarks.line import ROWS, Line, command_lines, host, line
from benchmarks.records import decoded, entities, expected, level, rows
from benchmarks.result import Failed, Result, compared, interleaved
from tapio.codec.otlp import Encoder
from tapio.model.batch import Batch

ARGVS = 3000
BATCHES = 24
"""Batches of a measurement: 200,000 rows, 50 to 150 ms."""


def run(*, quick: bool = False) -> Iterable[Result]:
    """The best of the rounds, in rows per second of CPU time."""
    best = asyncio.run(_best(2 if quick else 12))
    ours = {case: value for case, value in best.items() if case.startswith("tapio")}
    yield from compared("otlp", "rows/s", ours, {k: v for k, v in best.items() if k not in ours})


async def _best(rounds: int) -> Mapping[str, float]:
    async with AsyncExitStack() as stack:
        root = stack.enter_context(host())
        plain = await stack.enter_async_context(line(root, "process.exit"))
        argv = await stack.enter_async_context(line(root, "process.exec", command_lines(ARGVS)))
        for one in (plain, argv):
            _check(one)
        measures = {
            "tapio": _encoding(plain),
            "tapio-argv3000": _encoding(argv),
            "protobuf-objects": lambda: _rate(1, lambda: _objects(plain.batch(), plain)),
            "opentelemetry-sdk": lambda: _rate(1, lambda: _sdk(plain.batch(), plain)),
        }
        return {case: max(taken) for case, taken in interleaved(rounds, measures).items()}


def _encoding(line: Line) -> Callable[[], float]:
    encoder = Encoder(line.cx.resource)

    def batch() -> None:
        rows = line.batch()
        encoder.encode(rows)
        if rows.rows != ROWS:
            raise Failed(f"{rows.rows} of {ROWS} rows passed the sampler")

    return lambda: _rate(BATCHES, batch)


def _rate(times: int, batch: Callable[[], object]) -> float:
    """Rows a second, where each call of ``batch`` makes ``ROWS``."""
    start = time.process_time()
    for _ in range(times):
        batch()
    return times * ROWS / (time.process_time() - start)


def _check(line: Line) -> None:
    """Three random batches of the run, decoded by the official classes, say what the rows say."""
    encoder = Encoder(line.cx.resource)
    checked = random.sample(range(12), 3)
    for number in range(12):
        batch = line.batch()
        data = encoder.encode(batch)
        if number in checked and decoded(data) != expected(batch, line.cx.resource):
            raise Failed(f"decoded records differ from the rows of batch {number}")


def _objects(batch: Batch, line: Line) -> bytes:
    """The request made of official protobuf objects, a LogRecord a row."""
    request = ExportLogsServiceRequest()
    scopes: dict[int, Any] = {}
    for (at, severity, attributes), entity in zip(rows(batch), entities(batch), strict=True):
        scope = scopes.get(id(entity))
        if scope is None:
            logs = request.resource_logs.add()
            logs.resource.attributes.extend(_pairs({**line.cx.resource, **entity}))
            scope = scopes[id(entity)] = logs.scope_logs.add()
            scope.scope.name = "tapio"
        record = scope.log_records.add()
        record.time_unix_nano = record.observed_time_unix_nano = at
        record.severity_number = cast(Any, severity)
        record.severity_text = level(severity)
        record.event_name = batch.topic
        record.attributes.extend(_pairs(attributes))
    return bytes(request.SerializeToString())


def _pairs(attributes: Mapping[str, object]) -> Iterable[KeyValue]:
    for key, value in attributes.items():
        if isinstance(value, bool):
            yield KeyValue(key=key, value=AnyValue(bool_value=value))
        elif isinstance(value, int):
            yield KeyValue(key=key, value=AnyValue(int_value=value))
        else:
            yield KeyValue(key=key, value=AnyValue(string_value=str(value)))


class _Kept(LogRecordProcessor):
    """Keeps what was emitted, for one request."""

    def __init__(self) -> None:
        self.records: list[Any] = []  # what the encoder takes is typed apart from what is emitted

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self.records.append(log_record)

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def _sdk(batch: Batch, line: Line) -> bytes:
    """The request made by opentelemetry-sdk and its OTLP encoder: a logger an entity."""
    kept = _Kept()
    loggers: dict[int, Any] = {}
    for (at, severity, attributes), entity in zip(rows(batch), entities(batch), strict=True):
        logger = loggers.get(id(entity))
        if logger is None:
            resource = Resource({**line.cx.resource, **entity})
            provider = LoggerProvider(resource, shutdown_on_exit=False)
            provider.add_log_record_processor(kept)
            logger = loggers[id(entity)] = provider.get_logger("tapio")
        logger.emit(
            ApiRecord(
                timestamp=at,
                observed_timestamp=at,
                severity_number=SeverityNumber(severity),
                severity_text=level(severity),
                attributes=attributes,
                event_name=batch.topic,
            )
        )
    return bytes(encode_logs(kept.records).SerializeToString())
