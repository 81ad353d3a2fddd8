"""Ring → identity → sampler → OTLP bytes on one core. Goals: 3 M rows/s, with argv 1.5 M.

``tapio``: exits of processes in 300 cgroups. ``tapio-argv3000``: execs with 3,000 command lines.
The baselines make the same bytes of the same rows one at a time, from the drain as well.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from opentelemetry._logs import Logger, SeverityNumber
from opentelemetry._logs import LogRecord as ApiRecord
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import ScopeLogs
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.resources import Resource

from benchmarks.line import Line, command_lines, host, line
from benchmarks.records import decoded, entities, expected, level, rows
from benchmarks.result import Failed, Result, compared, interleaved
from tapio.codec.otlp import Encoder
from tapio.kernel.reader import MOST_ROWS

ARGVS = 3000
DRAINS = 48
"""Drains of a measurement: 200,000 rows, 50 to 150 ms."""


def run(*, quick: bool = False) -> Iterable[Result]:
    """The best of the rounds, in rows per second of CPU time."""
    with host() as root:
        best = _best(root, 2 if quick else 12)
    ours = {case: value for case, value in best.items() if case.startswith("tapio")}
    yield from compared("otlp", "rows/s", ours, {k: v for k, v in best.items() if k not in ours})


def _best(root: Path, rounds: int) -> Mapping[str, float]:
    plain = asyncio.run(line(root, "process.exit"))
    argv = asyncio.run(line(root, "process.exec", command_lines(ARGVS)))
    for one in (plain, argv):
        _check(one)
    measures = {
        "tapio": _encoding(plain),
        "tapio-argv3000": _encoding(argv),
        "protobuf-objects": lambda: _rate(2, lambda: _objects(plain)),
        "opentelemetry-sdk": lambda: _rate(1, lambda: _sdk(plain)),
    }
    return {case: max(taken) for case, taken in interleaved(rounds, measures).items()}


def _encoding(line: Line) -> Callable[[], float]:
    encoder = Encoder(line.cx.resource)

    def batch() -> int:
        rows = line.drain()
        encoder.encode(rows)
        return rows.rows

    return lambda: _rate(DRAINS, batch)


def _rate(times: int, batch: Callable[[], int]) -> float:
    """Rows a second of CPU time, where ``batch`` takes one drain and says how many rows it made."""
    start = time.process_time()
    made = sum(batch() for _ in range(times))
    spent = time.process_time() - start
    if made != times * MOST_ROWS:
        raise Failed(f"{made} of {times * MOST_ROWS} rows passed the sampler")
    return made / spent


def _check(line: Line) -> None:
    """Three random batches of the run, decoded by the official classes, say what the rows say."""
    encoder = Encoder(line.cx.resource)
    checked = random.sample(range(12), 3)
    for number in range(12):
        batch = line.drain()
        data = encoder.encode(batch)
        if number in checked and decoded(data) != expected(batch, line.cx.resource):
            raise Failed(f"decoded records differ from the rows of batch {number}")


def _objects(line: Line) -> int:
    """The request made of official protobuf objects, a LogRecord a row."""
    batch, request = line.drain(), ExportLogsServiceRequest()
    scopes: dict[int, ScopeLogs] = {}
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
    request.SerializeToString()
    return batch.rows


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


def _sdk(line: Line) -> int:
    """The request made by opentelemetry-sdk and its OTLP encoder: a logger an entity."""
    batch, kept = line.drain(), _Kept()
    loggers: dict[int, Logger] = {}
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
    encode_logs(kept.records).SerializeToString()
    return len(kept.records)
