"""Log records as plain values: what a batch's rows must arrive as, and what did arrive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from tapio.model.batch import Batch

Attributes: TypeAlias = dict[str, Any]

_OWN_FIELDS = ("time_ns", "severity", "entity")
_LEVELS = {9: "INFO", 13: "WARN", 17: "ERROR"}


def rows(batch: Batch) -> Iterator[tuple[int, int, Attributes]]:
    """(time, severity, attributes) of each row, one Python object a value."""
    names = [(f.otel, f.name) for f in batch.schema.fields if f.name not in _OWN_FIELDS]
    columns = [batch[name].tolist() for _, name in names]
    keys = [key for key, _ in names]
    times, severities = batch["time_ns"].tolist(), batch["severity"].tolist()
    for time, severity, *values in zip(times, severities, *columns, strict=True):
        yield time, severity, {k: v for k, v in zip(keys, values, strict=True) if v is not None}


def entities(batch: Batch) -> list[Mapping[str, str]]:
    """The resource attributes of each row's entity."""
    table: Any = batch.entities
    return [table[code] for code in batch["entity"].tolist()]


def level(severity: int) -> str:
    """The name of a severity that occurs here."""
    return _LEVELS[severity]


def expected(batch: Batch, common: Mapping[str, str]) -> list[str]:
    """Each record of ``batch`` in one line of text, sorted."""
    lines = zip(rows(batch), entities(batch), strict=True)
    return sorted(
        _line({**common, **entity}, time, severity, level(severity), batch.topic, attributes)
        for (time, severity, attributes), entity in lines
    )


def decoded(request: bytes | memoryview) -> list[str]:
    """Each record of ``request``, decoded by the official classes, in the same form."""
    found = []
    for logs in ExportLogsServiceRequest.FromString(bytes(request)).resource_logs:
        resource = _plain(logs.resource.attributes)
        found += [_record(resource, r) for scope in logs.scope_logs for r in scope.log_records]
    return sorted(found)


def _record(resource: Attributes, r: LogRecord) -> str:
    said = r.time_unix_nano, r.severity_number, r.severity_text, r.event_name
    return _line(resource, *said, _plain(r.attributes))


def _plain(attributes: Iterable[KeyValue]) -> Attributes:
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in attributes}


def _line(resource: Mapping[str, str], *said: Any) -> str:
    *fields, attributes = said
    return repr((sorted(resource.items()), fields, sorted(attributes.items())))
