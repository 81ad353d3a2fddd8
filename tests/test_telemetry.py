"""The table of metrics, and how a collection reads it."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tapio import telemetry
from tapio.model.plan import Plan
from tapio.telemetry import MAX_SERIES, METRICS, observe
from tests.cli.statuses import branch, sink, source, status


class Board:
    """A ``read`` that counts how often it was asked."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self.said = said
        self.asked = 0

    def __call__(self) -> Mapping[str, Any]:
        """What was said, counted."""
        self.asked += 1
        return self.said


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    """A reader that keeps what it collects."""
    reader = InMemoryMetricReader()
    yield reader
    reader.shutdown()


def observed(reader: InMemoryMetricReader, board: Board) -> MeterProvider:
    """The table, registered and ready to be collected."""
    provider = MeterProvider([reader], shutdown_on_exit=False)
    observe(provider.get_meter("tapio"), board)
    return provider


def collected(reader: InMemoryMetricReader) -> dict[tuple[str, frozenset[Any]], float]:
    """(name, labels) → value of one collection."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        (metric.name, frozenset((point.attributes or {}).items())): point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def value(points: Mapping[tuple[str, frozenset[Any]], float], name: str, **labels: str) -> float:
    """One value of a collection."""
    return points[name, frozenset(({"pipeline": "node"} | labels).items())]


def test_every_metric_is_named_once_and_by_the_conventions() -> None:
    """Names are tapio_*, unique, without what Prometheus appends; each has a sentence."""
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names) > 30
    for metric in METRICS:
        assert re.fullmatch(r"tapio(_[a-z]+)+", metric.name)
        assert not metric.name.endswith(("_total", "_bytes", "_seconds"))
        assert metric.doc.endswith(".") or metric.doc.endswith("bug.")
        assert "pipeline" not in metric.labels


def test_the_values_are_those_of_the_status(reader: InMemoryMetricReader) -> None:
    """Each kind of metric reads its place in the status."""
    observed(reader, Board(status()))
    points = collected(reader)
    assert value(points, "tapio_source_taken_rows", source="process") == 1_200
    assert value(points, "tapio_source_sampled_out_rows", source="process") == 200
    assert value(points, "tapio_sink_held_rows", sink="otlp", source="process") == 900
    drops = {"sink": "otlp", "source": "process", "reason": "drop_oldest"}
    assert value(points, "tapio_sink_dropped_rows", **drops) == 100
    assert value(points, "tapio_sink_breaker_state", sink="otlp", state="open") == 1
    assert value(points, "tapio_sink_breaker_state", sink="otlp", state="closed") == 0
    assert value(points, "tapio_sink_latency", sink="file", quantile="0.99") == 0.1
    assert value(points, "tapio_memory_size") == 3 << 20
    assert value(points, "tapio_state", state="running") == 1
    assert value(points, "tapio_stage_out_rows", stage="adaptive") == 1_000


def test_every_account_is_a_metric(reader: InMemoryMetricReader) -> None:
    """Both sides of rules 2 and 3, each account under its own name."""
    ways = ("taken", "filtered", "sampled_out", "absorbed", "dead_lettered", "returned", "held")
    trunk = source(**{way: 100 + n for n, way in enumerate(ways)}, passed=1)
    ways = ("passed", "recovered", "skipped", "refused", "dead_lettered", "returned", "held")
    end = branch(**{way: 200 + n for n, way in enumerate(ways)}, delivered=2)
    said = status(sources={"process": trunk}, sinks={"file": sink({"process": end})})
    observed(reader, Board(said))
    points = collected(reader)
    for account in trunk.keys() - {"dropped", "imbalance"}:
        name = f"tapio_source_{account}_rows"
        assert value(points, name, source="process") == trunk[account]
    for account in end.keys() - {"dropped", "imbalance"}:
        name = f"tapio_sink_{account}_rows"
        assert value(points, name, sink="file", source="process") == end[account]


def test_failures_are_zero_before_the_first(reader: InMemoryMetricReader) -> None:
    """Every failure counter has a series before anything has failed."""
    said = status(
        sources={"process": source()}, sinks={"file": sink({"process": branch()})}, stages={}
    )
    observed(reader, Board(said))
    points = collected(reader)
    both = {"sink": "file", "source": "process"}
    for reason in ("memory", "drain_deadline", "unreplayable", "drop_oldest"):
        assert value(points, "tapio_sink_dropped_rows", **both, reason=reason) == 0
    memory = {"source": "process", "stage": "engine", "reason": "memory"}
    assert value(points, "tapio_source_dropped_rows", **memory) == 0
    for name in ("refused", "dead_lettered", "returned"):
        assert value(points, f"tapio_sink_{name}_rows", **both) == 0
    assert value(points, "tapio_sink_retries", sink="file") == 0
    assert value(points, "tapio_imbalance_rows") == 0


def test_a_sink_that_blocks_has_no_series_for_drops_of_its_channel(
    reader: InMemoryMetricReader,
) -> None:
    """``block`` is no reason for a drop."""
    said = status(sinks={"file": sink({"process": branch()})})
    said["sinks"]["file"]["channel"]["on_full"] = "block"
    observed(reader, Board(said))
    reasons = {
        dict(labels)["reason"]
        for name, labels in collected(reader)
        if name == "tapio_sink_dropped_rows"
    }
    assert reasons == {"memory", "drain_deadline", "unreplayable"}


def test_one_collection_reads_the_status_once(reader: InMemoryMetricReader) -> None:
    """All instruments of a collection see one status, and the next collection a new one."""
    board = Board(status())
    observed(reader, board)
    collected(reader)
    assert board.asked == 1
    board.said = status(imbalance=7)
    points = collected(reader)
    assert board.asked == 2
    assert value(points, "tapio_imbalance_rows") == 7


def test_two_threads_that_collect_do_not_share_a_turn() -> None:
    """A reader that begins on another thread takes nothing from under the first one's feet."""
    board = Board(status(imbalance=1))
    reading = telemetry._Reading(board)
    assert reading("a")["imbalance"] == 1
    board.said = status(imbalance=2)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(reading("a")["imbalance"]))
    thread.start()
    thread.join()
    assert found == [2]
    assert reading("b")["imbalance"] == 1
    assert reading("a")["imbalance"] == 2


def test_labels_are_bounded(reader: InMemoryMetricReader) -> None:
    """A status with more sources than there can be gives no more than MAX_SERIES series."""
    many = {f"s{n}": source(taken=n) for n in range(MAX_SERIES + 50)}
    observed(reader, Board(status(sources=many)))
    taken = [key for key in collected(reader) if key[0] == "tapio_source_taken_rows"]
    assert len(taken) == MAX_SERIES


def test_the_prometheus_page_has_the_usual_suffixes() -> None:
    """Counters end in _total, sizes in _bytes, times in _seconds; a parser takes the page."""
    registry = CollectorRegistry()
    provider = MeterProvider(
        [PrometheusMetricReader(registry=registry, scope_info_enabled=False)],
        shutdown_on_exit=False,
    )
    observe(provider.get_meter("tapio"), Board(status()))
    page = generate_latest(registry).decode()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    provider.shutdown()
    labels = 'pipeline="node",source="process"'
    assert f"tapio_source_taken_rows_total{{{labels}}} 1200.0" in page
    assert families["tapio_memory_size_bytes"].type == "gauge"
    assert families["tapio_sink_latency_seconds"].samples[0].value == 0.01
    assert families["tapio_sink_retries"].type == "counter"
    ours = [metric for metric in METRICS if metric.points is not None]
    assert len([name for name in families if name.startswith("tapio_")]) == len(ours)


async def test_the_engine_says_all_that_the_table_reads(reader: InMemoryMetricReader) -> None:
    """Every metric finds its place in the status of a real engine, before its first row."""
    from tapio.engine.run import Engine

    engine = Engine(Plan("node", (), (), ()))
    observed(reader, Board(engine.status()))
    names = {name for name, _ in collected(reader)}
    whole = {m.name for m in METRICS if not set(m.labels) & {"source", "sink", "stage"}}
    assert names == whole


MAKERS = re.compile(r"create_(?:observable_)?(counter|gauge|histogram|up_down_counter)")


def made(source: str) -> Iterator[tuple[str, str]]:
    """(name, kind) of each instrument that ``source`` makes under a name that stands there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            kind = MAKERS.fullmatch(node.func.attr)
            name = next((a.value for a in node.args if isinstance(a, ast.Constant)), None)
            if kind and isinstance(name, str):
                yield name, kind[1]


def test_no_stage_makes_a_metric_that_the_table_does_not_name() -> None:
    """What stages make themselves stands in the table without values, and nothing else does."""
    files = (Path(__file__).parent.parent / "tapio").rglob("*.py")
    found = {pair for file in files for pair in made(file.read_text())}
    assert found == {(m.name, m.kind) for m in METRICS if m.points is None}
    assert list(made("def f(m): m.create_counter('tapio_x', unit='')")) == [("tapio_x", "counter")]
