"""Every metric that Tapio emits about itself, in one table.

Nothing is counted here: the engine keeps integers for its ledger anyway, and the callbacks of
observable instruments read them through ``status()`` when somebody collects. So a metric costs
nothing on the way of a row, and one collection balances exactly, as ``status()`` does.

Names are those of OpenTelemetry instruments; a Prometheus page adds ``_total`` to counters and
the unit (``_bytes``, ``_seconds``). Each has the label ``pipeline`` besides its own. Failure
counters are there from the start with the value 0, or the first failure would be no increase.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

Status: TypeAlias = Mapping[str, Any]
"""What ``status()`` of an engine says."""
Points: TypeAlias = Callable[[Status], Iterator[tuple[float, tuple[str, ...]]]]
"""A metric's values, each with the values of its labels."""

MAX_SERIES = 1_000
"""Series a metric has at most: 30 sources on 30 sinks. More would be a label out of bounds."""

QUIET_REASONS = ("memory", "drain_deadline", "unreplayable")
"""Reasons for a drop that each branch shows from the start, at 0."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table: an instrument, and how its values are read."""

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    labels: tuple[str, ...]
    points: Points | None
    """None: the stage that knows the values makes the instrument, with the meter it is given."""
    doc: str


def _whole(*path: str) -> Points:
    """One value for the pipeline, found at ``path``."""

    def points(status: Status) -> Iterator[tuple[float, tuple[str, ...]]]:
        value: Any = status
        for key in path:
            value = value[key]
        yield float(value), ()

    return points


def _each(group: str, *path: str) -> Points:
    """One value for each member of ``group`` (``sources``, ``sinks``, ``stages``)."""

    def points(status: Status) -> Iterator[tuple[float, tuple[str, ...]]]:
        for label, value in status[group].items():
            for key in path:
                value = value[key]
            yield value, (label,)

    return points


def _branch(account: str) -> Points:
    """One account for each (sink, source)."""

    def points(status: Status) -> Iterator[tuple[float, tuple[str, ...]]]:
        for sink, said in status["sinks"].items():
            for source, accounts in said["sources"].items():
                yield accounts[account], (sink, source)

    return points


def _source_drops(status: Status) -> Iterator[tuple[float, tuple[str, ...]]]:
    for source, said in status["sources"].items():
        for where, rows in ({"engine/memory": 0} | said["dropped"]).items():
            stage, _, reason = where.rpartition("/")
            yield rows, (source, stage, reason)


def _sink_drops(status: Status) -> Iterator[tuple[float, tuple[str, ...]]]:
    for sink, said in status["sinks"].items():
        quiet = dict.fromkeys((*QUIET_REASONS, said["channel"]["on_full"]), 0)
        quiet.pop("block", None)
        for source, accounts in said["sources"].items():
            for reason, rows in (quiet | accounts["dropped"]).items():
                yield rows, (sink, source, reason)


def _breaker(status: Status) -> Iterator[tuple[float, tuple[str, ...]]]:
    for sink, said in status["sinks"].items():
        for state in ("closed", "half-open", "open"):
            yield int(said["breaker"]["state"] == state), (sink, state)


def _latency(status: Status) -> Iterator[tuple[float, tuple[str, ...]]]:
    for sink, said in status["sinks"].items():
        if said["latency_s"]["count"]:
            yield said["latency_s"]["p50"], (sink, "0.5")
            yield said["latency_s"]["p99"], (sink, "0.99")


def _state(status: Status) -> Iterator[tuple[float, tuple[str, ...]]]:
    for state in ("opening", "running", "stopping", "stopped"):
        yield int(status["state"] == state), (state,)


def _counter(name: str, unit: str, labels: tuple[str, ...], points: Points, doc: str) -> Metric:
    return Metric(name, "counter", unit, labels, points, doc)


def _gauge(
    name: str, unit: str, labels: tuple[str, ...], points: Points | None, doc: str
) -> Metric:
    return Metric(name, "gauge", unit, labels, points, doc)


_ROW = "{row}"
_SRC, _SINK, _STAGE = ("source",), ("sink",), ("stage",)
_BRANCH = ("sink", "source")
_OUT = "Rows that left the trunk"
_END = "Rows of a source that, on the way to a sink,"

METRICS: tuple[Metric, ...] = (
    # rule 2: the first is the sum of the eight that follow it
    _counter("tapio_source_taken_rows", _ROW, _SRC, _each("sources", "taken"),
             "Rows taken from a source."),
    _counter("tapio_source_filtered_rows", _ROW, _SRC, _each("sources", "filtered"),
             f"{_OUT} because a step or an enricher removed them."),
    _counter("tapio_source_sampled_out_rows", _ROW, _SRC, _each("sources", "sampled_out"),
             f"{_OUT} because a sampler did not keep them."),
    _counter("tapio_source_absorbed_rows", _ROW, _SRC, _each("sources", "absorbed"),
             f"{_OUT} because a window replaced them by other rows."),
    _counter("tapio_source_dropped_rows", _ROW, ("source", "stage", "reason"), _source_drops,
             "Rows lost on the trunk, by stage and reason."),
    _counter("tapio_source_dead_lettered_rows", _ROW, _SRC, _each("sources", "dead_lettered"),
             "Rows that a stage failed on and that are kept among the dead letters."),
    _counter("tapio_source_returned_rows", _ROW, _SRC, _each("sources", "returned"),
             "Rows given back to a source that will give them again."),
    _counter("tapio_source_passed_rows", _ROW, _SRC, _each("sources", "passed"),
             "Rows that reached the end of the trunk."),
    _gauge("tapio_source_held_rows", _ROW, _SRC, _each("sources", "held"),
           "Rows of a source that are on the trunk now."),
    # rule 3: the first two are the sum of the seven that follow them
    _counter("tapio_sink_passed_rows", _ROW, _BRANCH, _branch("passed"),
             "Rows of a source that were offered to a sink."),
    _counter("tapio_sink_recovered_rows", _ROW, _BRANCH, _branch("recovered"),
             "Rows found in a sink's spool at the start."),
    _counter("tapio_sink_skipped_rows", _ROW, _BRANCH, _branch("skipped"),
             f"{_END} its `when` did not choose."),
    _counter("tapio_sink_delivered_rows", _ROW, _BRANCH, _branch("delivered"),
             f"{_END} were delivered."),
    _counter("tapio_sink_refused_rows", _ROW, _BRANCH, _branch("refused"),
             f"{_END} the endpoint refused by count, without saying which."),
    _counter("tapio_sink_dead_lettered_rows", _ROW, _BRANCH, _branch("dead_lettered"),
             f"{_END} were rejected and kept among the dead letters."),
    _counter("tapio_sink_dropped_rows", _ROW, ("sink", "source", "reason"), _sink_drops,
             f"{_END} were lost, by reason."),
    _counter("tapio_sink_returned_rows", _ROW, _BRANCH, _branch("returned"),
             f"{_END} were given back to a source that will give them again."),
    _gauge("tapio_sink_held_rows", _ROW, _BRANCH, _branch("held"),
           "Rows of a source that wait for a sink now."),
    _gauge("tapio_imbalance_rows", _ROW, (), _whole("imbalance"),
           "Rows that one side of the ledger has more than the other; anything but 0 is a bug."),
    _counter("tapio_sink_retries", "{retry}", _SINK, _each("sinks", "retries"),
             "Writes that a sink had to repeat."),
    _gauge("tapio_sink_breaker_state", "", ("sink", "state"), _breaker,
           "1 for the state that a sink's circuit breaker is in."),
    _counter("tapio_sink_breaker_opened", "{time}", _SINK, _each("sinks", "breaker", "opened"),
             "Times that a sink's circuit breaker has opened."),
    _gauge("tapio_sink_channel_rows", _ROW, _SINK, _each("sinks", "channel", "rows"),
           "Rows that wait in a sink's channel."),
    _gauge("tapio_sink_channel_limit_rows", _ROW, _SINK, _each("sinks", "channel", "max_rows"),
           "Rows at which a sink's channel is full."),
    _gauge("tapio_sink_channel_size", "By", _SINK, _each("sinks", "channel", "bytes"),
           "Bytes that wait in a sink's channel."),
    _gauge("tapio_sink_channel_limit", "By", _SINK, _each("sinks", "channel", "max_bytes"),
           "Bytes at which a sink's channel is full."),
    _gauge("tapio_sink_latency", "s", ("sink", "quantile"), _latency,
           "Time from an event to the end of the write that delivered it."),
    _counter("tapio_stage_in_rows", _ROW, _STAGE, _each("stages", "rows_in"),
             "Rows that entered a stage of the trunk."),
    _counter("tapio_stage_out_rows", _ROW, _STAGE, _each("stages", "rows_out"),
             "Rows that came out of a stage of the trunk."),
    _gauge("tapio_memory_size", "By", (), _whole("memory", "bytes"),
           "Bytes of batch buffers in the process."),
    _gauge("tapio_memory_soft_limit", "By", (), _whole("memory", "soft"),
           "Bytes above which sources stop reading."),
    _gauge("tapio_memory_hard_limit", "By", (), _whole("memory", "hard"),
           "Bytes above which rows are dropped."),
    _gauge("tapio_pressure", "", (), _whole("pressure"),
           "The most of memory / soft limit and held / capacity of any channel."),
    _gauge("tapio_uptime", "s", (), _whole("uptime_s"), "Time since the pipeline was started."),
    _gauge("tapio_state", "", ("state",), _state, "1 for the state that the pipeline is in."),
    _gauge("tapio_kernel_rows", _ROW, ("source", "topic", "account"), None,
           "Rows by the kernel's account (rule 7)."),
)  # fmt: skip
"""Every metric there is; a test holds that nobody makes another."""


def observe(meter: Meter, read: Callable[[], Status]) -> None:
    """Register every metric on ``meter``, to be read from ``read()``.

    ``read`` is called once a collection, on the thread that collects: give something that may
    be called there, as a function that returns the last ``status()``. The labels are bounded:
    a metric has at most ``MAX_SERIES`` series.
    """
    reading = _Reading(read)
    for metric in METRICS:
        if metric.points is None:
            continue
        counter = metric.kind == "counter"
        make = meter.create_observable_counter if counter else meter.create_observable_gauge
        make(
            metric.name,
            callbacks=[_callback(metric, metric.points, reading)],
            unit=metric.unit,
            description=metric.doc,
        )


def _callback(
    metric: Metric, points: Points, reading: _Reading
) -> Callable[[CallbackOptions], Iterator[Observation]]:
    def observations(options: CallbackOptions) -> Iterator[Observation]:
        from opentelemetry.metrics import Observation

        status = reading(metric.name)
        names = ("pipeline", *metric.labels)
        for value, said in islice(points(status), MAX_SERIES):
            labels = dict(zip(names, (status["pipeline"], *said), strict=True))
            yield Observation(value, labels)

    return observations


class _Reading(threading.local):
    """One ``status()`` for all instruments of one collection.

    A collection asks for each instrument once, so an instrument that asks again begins the
    next. Readers may collect on threads of their own, so each thread has its own turn.
    """

    def __init__(self, read: Callable[[], Status]) -> None:
        self._read = read
        self._status: Status = {}
        self._asked: set[str] = set()

    def __call__(self, name: str) -> Status:
        if not self._asked or name in self._asked:
            self._status = self._read()
            self._asked.clear()
        self._asked.add(name)
        return self._status
