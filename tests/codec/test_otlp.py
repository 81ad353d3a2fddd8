"""The official protobuf classes decode what the encoder makes to the same records."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tapio.codec.otlp import Encoder, Encoding
from tapio.codec.otlp.gather import Scratch
from tapio.codec.otlp.padded import Padded, padded
from tapio.codec.otlp.rows import Rows
from tapio.codec.otlp.vocabulary import Vocabulary
from tapio.model.batch import Batch
from tapio.model.columns import Column
from tapio.model.entities import EntityTable
from tapio.model.schema import ENTITY, NUMBERS, WEIGHT, Field
from tests.batches import batches, counting

ENCODINGS: tuple[Encoding, ...] = ("compact", "padded")
COMMON = {"host.name": "node-1", "service.name": "tapio"}
EDGES = (0, 1, 11, 12, 13, 60, 100, 110, 120, 126, 127, 128, 129, 16_350, 16_383, 16_384, 65_536)
LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
NAMES = [level + step for level in LEVELS for step in ("", "2", "3", "4")]


def value(said: AnyValue) -> tuple[str | None, Any]:
    """An AnyValue as its kind and its value; a double by its bits, so that NaN equals itself."""
    kind = said.WhichOneof("value")
    one = getattr(said, kind or "string_value")
    return kind, struct.pack("<d", one) if kind == "double_value" else one


def decoded(data: bytes | memoryview) -> list[Any]:
    """The groups of records: resource, scope, and each record's fields."""
    return [
        (
            {a.key: a.value.string_value for a in logs.resource.attributes},
            (scope.scope.name, scope.scope.version),
            [
                (
                    *(r.time_unix_nano, r.observed_time_unix_nano, r.severity_number),
                    *(r.severity_text, r.event_name),
                    sorted((a.key, *value(a.value)) for a in r.attributes),
                )
                for r in scope.log_records
            ],
        )
        for logs in ExportLogsServiceRequest.FromString(bytes(data)).resource_logs
        for scope in logs.scope_logs
    ]


def expected(batch: Batch) -> list[Any]:
    """The same, made from ``batch`` row by row: by entity, an unknown one last."""
    codes = batch["entity"].tolist() if batch.entities is not None else [-1] * batch.rows
    table: Any = batch.entities or {-1: {}}
    records = list(rows(batch))
    return [
        (COMMON | table[code], ("tapio", "1.2"), [r for r, c in zip(records, codes) if c == code])  # noqa: B905
        for code in sorted(set(codes), key=lambda code: code % 0x10000)
    ]


def rows(batch: Batch) -> Iterator[Any]:
    """What each row must arrive as."""
    columns = [(f, plain(batch[f.name])) for f in batch.schema.fields]
    for i in range(batch.rows):
        said = {f.name: column[i] for f, column in columns}
        attributes = [
            attribute(f, column[i])
            for f, column in columns
            if f.name not in ("time_ns", "severity", "entity") and column[i] is not None
        ]
        time, severity = max(0, said["time_ns"]), said["severity"]
        name = NAMES[severity - 1] if 1 <= severity <= 24 else ""
        yield time, time, severity, name, batch.topic, sorted(attributes)


def plain(column: Column) -> list[Any]:
    """The column's values as Python's own."""
    return column.tolist() if isinstance(column, np.ndarray) else column.to_pylist()


def attribute(field: Field, item: Any) -> tuple[str, str, Any]:
    """What a value must arrive as: OpenTelemetry's mapping of types."""
    if field.type in ("text", "string"):
        return field.otel, "string_value", item
    if field.type in ("binary", "bool"):
        return field.otel, {"binary": "bytes_value", "bool": "bool_value"}[field.type], item
    if field.type in ("float32", "float64"):
        return field.otel, "double_value", struct.pack("<d", item)
    if item >= 1 << 63:
        return field.otel, "string_value", str(item)
    return field.otel, "int_value", item


def encode(batch: Batch, encoding: Encoding = "compact") -> memoryview:
    """The bytes that a new encoder makes."""
    return Encoder(COMMON, encoding=encoding, version="1.2").encode(batch)


def within_int64(batch: Batch) -> Batch:
    """``batch`` with every uint64 halved, so that OTLP's integers can say it."""
    large = {f: batch[f.name] >> np.uint64(1) for f in batch.schema.fields if f.type == "uint64"}
    return batch.with_columns(large, batch.entities)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(batch=batches(min_rows=1).map(within_int64))
def test_any_batch_arrives(encoding: Encoding, batch: Batch) -> None:
    """Any schema, extreme numbers, NaN, nulls: the same records, by entity, in their order."""
    assert decoded(encode(batch, encoding)) == expected(batch)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(batch=batches(min_rows=1))
def test_integers_beyond_int64_arrive_as_decimal_text(encoding: Encoding, batch: Batch) -> None:
    """OTLP's integers end at 2^63 - 1: rows that go beyond say it as text, and none is lost."""

    def records(groups: list[Any]) -> list[Any]:
        return sorted(repr((g[0], g[1], record)) for g in groups for record in g[2])

    assert records(decoded(encode(batch, encoding))) == records(expected(batch))


def column(kind: str, sizes: list[int | None]) -> Column:
    """A column of text of ``sizes``; None is null."""
    one: Any = b"\xff" if kind == "binary" else "x"
    made = pa.array(
        [None if n is None else one * n for n in sizes],
        Field("x", kind).arrow.value_type if kind == "text" else Field("x", kind).arrow,
    )
    return made.dictionary_encode() if kind == "text" else made


@given(st.data())
def test_texts_of_any_length_arrive(data: st.DataObject) -> None:
    """Text and bytes, coded or not, around the lengths at which a length takes a byte more."""
    sizes = st.lists(
        st.none() | st.sampled_from(EDGES) | st.integers(90, 140), min_size=5, max_size=5
    )
    kinds = data.draw(st.lists(st.sampled_from(["text", "string", "binary"]), max_size=3))
    made = {
        Field(f"c{i}" * (1 + i), kind): column(kind, data.draw(sizes))
        for i, kind in enumerate(kinds)
    }
    batch = counting("net.dns", 5).with_columns(made)
    assert decoded(encode(batch)) == expected(batch)


@pytest.mark.parametrize("kind", ["text", "string", "binary"])
def test_a_length_may_take_a_byte_more_at_any_text(kind: str) -> None:
    """Every length near 128 and 16,384, where the three lengths around a text grow in turn."""
    for size in (*range(90, 130), *range(16_350, 16_390)):
        batch = counting("net.dns", 1).with_columns({Field("key.name", kind): column(kind, [size])})
        assert decoded(encode(batch)) == expected(batch)


def test_a_null_may_stand_on_bytes() -> None:
    """Arrow says nothing of what lies under a null: in a dictionary, or in a text's own place."""
    under = pa.array(["seen", "x" * 30, "seen too"])
    bits = pa.py_buffer(b"\x05")  # the second is null
    hidden = pa.Array.from_buffers(pa.string(), 3, [bits, *under.buffers()[1:]])
    coded = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1], pa.int32()), hidden.slice(0, 2))
    fields = {Field("argv", "string"): hidden, Field("name", "text"): coded}
    batch = counting("net.dns", 3).with_columns(fields)
    assert decoded(encode(batch)) == expected(batch)


@given(st.integers(1, 40), st.lists(st.sampled_from(EDGES), min_size=3, max_size=3), st.data())
def test_padding_is_not_seen(rows: int, sizes: list[int], data: st.DataObject) -> None:
    """Records padded to one length decode as they would without, whatever their texts."""
    index = data.draw(st.lists(st.none() | st.integers(0, 2), min_size=rows, max_size=rows))
    texts = pa.DictionaryArray.from_arrays(
        pa.array(index, pa.int32()), pa.array(["x" * n for n in sizes])
    )
    batch = counting("net.dns", rows).with_columns({Field("name", "text"): texts})
    assert decoded(encode(batch, "padded")) == decoded(encode(batch)) == expected(batch)


@pytest.mark.parametrize("severity", [0, 1, 24, 25, 255])
def test_padding_ends_where_severity_has_no_name(severity: int) -> None:
    """The blanks are overwritten also by a severity_text that is empty."""
    names = ["alpha", "beta", "gamma", "epsilon"] * 10
    batch = counting("net.dns", 40, severity=severity, name=names)
    assert decoded(encode(batch, "padded")) == expected(batch)


def test_padded_records_are_of_one_length() -> None:
    """Where texts are of nearly one length, all records are; and compact is shorter."""
    batch = counting("net.dns", 40, name=["alpha", "beta", "gamma", "epsilon"] * 10)
    laid = padded(Rows(batch, Vocabulary()), slice(None), Scratch())
    assert isinstance(laid, Padded)
    assert len(set(laid.sizes)) == 1
    assert len(encode(batch, "padded")) > len(encode(batch)) > 0


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["x" * 400, *["x"] * 7] * 5, id="more than 1.25 times as long"),
        pytest.param([str(n) for n in range(40)], id="a template a row"),
    ],
)
def test_padding_that_does_not_pay_is_left_out(names: list[str]) -> None:
    """Records that differ too much are sent compact, though padding was asked for."""
    batch = counting("net.dns", 40, name=names)
    assert encode(batch, "padded") == encode(batch)


def test_no_rows_are_no_bytes() -> None:
    """An empty request says nothing, so it is nothing."""
    assert bytes(encode(counting("net.dns", 0))) == b""


def test_each_entity_is_a_resource() -> None:
    """Rows that alternate between entities come grouped; an entity's attribute wins."""
    table = EntityTable()
    codes = [table.add(n, {"k8s.pod.name": f"pod-{n}", "host.name": "own"}) for n in range(3)]
    column = np.array([codes[2], -1, codes[0], codes[2], codes[0]], np.int32)
    groups = decoded(encode(counting("net.dns", 5).with_columns({ENTITY: column}, table)))
    assert [(g[0].get("k8s.pod.name"), g[0]["host.name"]) for g in groups] == [
        ("pod-0", "own"),
        ("pod-2", "own"),
        (None, "node-1"),
    ]
    assert [[{a[0]: a[2] for a in r[5]}["n"] for r in g[2]] for g in groups] == [
        [2, 4],
        [0, 3],
        [1],
    ]


def test_an_encoder_follows_the_entity_table() -> None:
    """Codes of a new epoch are other entities, and a table that grows is read on."""
    encoder = Encoder(COMMON)
    first, second = EntityTable(), EntityTable()
    code = np.zeros(1, np.int32)
    for table, name in ((first, "a"), (second, "b"), (first, "a")):
        if not len(table):
            table.add(name, {"k8s.pod.name": name})
        batch = counting("net.dns", 1).with_columns({ENTITY: code}, table)
        assert decoded(encoder.encode(batch))[0][0]["k8s.pod.name"] == name
    second.add("c", {"k8s.pod.name": "c"})
    batch = counting("net.dns", 1).with_columns({ENTITY: code + 1}, second)
    assert decoded(encoder.encode(batch))[0][0]["k8s.pod.name"] == "c"


def test_more_entities_than_two_bytes_count() -> None:
    """70,000 entities: codes beyond 65,535 are sorted as themselves."""
    table = EntityTable()
    for n in range(70_000):
        table.add(n, {"n": str(n)})
    codes = np.array([69_999, 4_463, 69_999, -1], np.int32)  # 69,999 - 65,536 = 4,463
    groups = decoded(encode(counting("net.dns", 4).with_columns({ENTITY: codes}, table)))
    assert [(g[0].get("n"), len(g[2])) for g in groups] == [(None, 1), ("4463", 1), ("69999", 2)]


def test_text_that_is_not_utf8_becomes_a_question_mark() -> None:
    """A lone surrogate, as a file name may have, never leaves as broken UTF-8."""
    data = Encoder({"host.name": "a\udcffb"}).encode(counting("net.dns", 1))
    assert decoded(data)[0][0] == {"host.name": "a?b"}


def test_texts_without_end_are_not_remembered_without_end() -> None:
    """4 MiB of distinct coded texts in one run leave a vocabulary of 1 MiB, and all arrive."""
    known = Vocabulary()
    for start in range(0, 400, 20):
        batch = counting("net.dns", 20, name=[f"{start + n} " + "x" * 10_000 for n in range(20)])
        Rows(batch, known)
        assert known.remembered < 1_300_000
    assert decoded(encode(batch)) == expected(batch)


def test_an_earlier_message_outlives_the_next() -> None:
    """What an encoder returned is not written over by what it makes afterwards."""
    encoder = Encoder(COMMON, version="1.2")
    one, two = counting("net.dns", 50), counting("net.dns", 50, start=1000)
    first = encoder.encode(one)
    encoder.encode(two)
    assert decoded(first) == expected(one)


def test_a_request_beyond_the_limit_is_refused() -> None:
    """What would be over 256 MiB is an OverflowError before any memory is taken."""
    text = pa.array(["x" * 65_536])
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(5000, np.int32)), text)
    batch = counting("net.dns", 5000).with_columns({Field("name", "text"): column})
    with pytest.raises(OverflowError, match="5000 rows"):
        encode(batch)


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_strided_view_is_read_as_it_is(kind: str) -> None:
    """Columns may be views of the kernel's records: every second number, out of order."""
    column = np.arange(20).astype(kind)[::-2]
    batch = counting("net.dns", 10).with_columns({Field("c", kind): column})
    assert decoded(encode(batch)) == expected(batch)


def test_weight_is_an_attribute() -> None:
    """The weight that samplers set travels as tapio.weight."""
    batch = counting("net.dns", 2).with_columns({WEIGHT: np.array([1.0, 2.5])})
    records = decoded(encode(batch))[0][2]
    assert [{a[0]: a[2] for a in r[5]}["tapio.weight"] for r in records] == [
        struct.pack("<d", 1.0),
        struct.pack("<d", 2.5),
    ]


def test_a_slice_is_encoded_alone() -> None:
    """A slice of a batch shares its columns, and sends its own rows only."""
    names = ["a", None, "x" * 200, "d", "a", "f"]
    whole = counting("net.dns", 6, name=names).with_columns(
        {
            Field("argv", "string"): pa.array(names),
            Field("raw", "binary"): pa.array(names).cast(pa.binary()),
        }
    )
    part = whole.slice(1, 4)
    assert decoded(encode(part)) == expected(part)
