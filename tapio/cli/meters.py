"""Where Tapio's own metrics go: the Prometheus page, and a push over OTLP where it is asked for.

The push follows the OpenTelemetry SDK: ``OTEL_METRICS_EXPORTER=otlp`` turns it on, and the
``OTEL_EXPORTER_OTLP_*`` and ``OTEL_METRIC_EXPORT_INTERVAL`` variables say where to and how often.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tapio import telemetry
from tapio.sinks.otlp_target import Variables, revealed

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.metrics.export import MetricReader

PUSH_END_MS = 2_000
"""The last push may take this long; a collector that is away must not hold up the exit."""


def pushed(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for a push of own metrics."""
    exporters = environ.get("OTEL_METRICS_EXPORTER", "").split(",")
    return "otlp" in (name.strip() for name in exporters)


class Meters:
    """A meter for one pipeline, and what reads it.

    ``board`` is what metrics show until it is replaced: keep it a fresh ``status()``. Readers
    on other threads see one or the other, never a mixture.
    """

    def __init__(self, resource: Mapping[str, str], *, push: bool) -> None:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.resources import Resource
        from prometheus_client import CollectorRegistry, ProcessCollector

        self.board: telemetry.Status = {}
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        readers: list[MetricReader] = [
            PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)
        ]
        if push:
            readers.append(_push())
        self._provider = MeterProvider(readers, Resource(resource), shutdown_on_exit=False)
        self.meter: Meter = self._provider.get_meter("tapio")

    def observe(self, status: telemetry.Status) -> None:
        """Begin to show ``status``, and what replaces it as ``board``."""
        self.board = status
        telemetry.observe(self.meter, lambda: self.board)

    def page(self, accept: str) -> tuple[str, bytes]:
        """The Prometheus exposition in the format that ``accept`` prefers: type and body."""
        from prometheus_client.exposition import choose_encoder

        encode, kind = choose_encoder(accept)
        return kind, encode(self._registry)

    def kernel_lost(self) -> int:
        """Rows that found the kernel's rings full, over all sources; takes 5 ms."""
        return sum(
            int(sample.value)
            for family in self._registry.collect()
            if family.name == "tapio_kernel_rows"
            for sample in family.samples
            if sample.labels["account"] == "lost"
        )

    def close(self) -> None:
        """Push a last time, for at most ``PUSH_END_MS``; blocks."""
        self._provider.shutdown(timeout_millis=PUSH_END_MS)


def _push() -> MetricReader:
    """The push, with the headers as our own sink reads them. Raises ConfigError."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    # What the SDK makes nothing of in the variable, it logs, values and all.
    logging.getLogger("opentelemetry.util.re").setLevel(logging.CRITICAL)
    headers = revealed(Variables(os.environ, "METRICS").headers())
    return PeriodicExportingMetricReader(OTLPMetricExporter(headers=headers))
