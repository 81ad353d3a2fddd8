"""Batches ↔ Arrow streams: what goes in comes out, and hostile bytes end in one error."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.codec import arrow, ipc
from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.errors import DecodeError
from tapio.model.schema import NUMBERS, TEXT
from tests.batches import batches, counting, rows_of, schemas


def stream(*columns: tuple[str, Any], **options: Any) -> bytes:
    """An Arrow stream of one record batch, as somebody else's program writes it."""
    made = pa.RecordBatch.from_arrays([c for _, c in columns], names=[n for n, _ in columns])
    made = made.replace_schema_metadata({"tapio.topic": "some.rows"})
    out = io.BytesIO()
    with pa.ipc.new_stream(out, made.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(made)
    return out.getvalue()


@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    """Batches of any schema, entities included, come out as they went in."""
    schema = data.draw(schemas())
    given_ = data.draw(
        st.lists(batches(schema, min_rows=1, entities=False), min_size=1, max_size=4)
    )
    back = arrow.decode(arrow.encode(given_))
    assert [rows_of(b) for b in back] == [rows_of(b) for b in given_]
    assert all(b.schema == schema for b in back)


@given(batches(min_rows=1))
def test_entities_travel_with_their_rows(batch: Batch) -> None:
    """Each row has the entity attributes that it had, under whatever code."""
    (back,) = arrow.decode(arrow.encode([batch]))
    said = rows_of(back)
    for row in said:
        if "entity" in batch:  # where no row's entity has an attribute, none travels
            row.setdefault("entity", {})
    assert said == rows_of(batch)


def changing() -> list[Batch]:
    """Three batches of one topic, each with other texts than the one before."""
    return [counting("a.b", 3, 3 * i, who=[f"w{i}", None, f"v{i // 2}"]) for i in range(3)]


def test_dictionaries_may_change() -> None:
    """A stream whose coded text changes from batch to batch keeps every text."""
    back = arrow.decode(arrow.encode(changing()))
    assert [b["who"].to_pylist() for b in back] == [
        ["w0", None, "v0"],
        ["w1", None, "v0"],
        ["w2", None, "v1"],
    ]


def test_an_unchanged_dictionary_is_written_once() -> None:
    """The second batch of the same texts costs no dictionary again."""
    encoder = arrow.Encoder(changing()[0].to_arrow().schema)
    first, second = (encoder.encode(changing()[0].to_arrow()) for _ in range(2))
    kinds = [f.kind for f in frames(first + second)]
    assert kinds == [ipc.SCHEMA, ipc.DICTIONARY, ipc.BATCH, ipc.BATCH]


def frames(data: bytes) -> list[ipc.Frame]:
    """All messages of a stream."""
    walk = ipc.Frames(io.BytesIO(data).read)
    return list(iter(walk.next, None))


@pytest.mark.parametrize("deltas", [False, True])
def test_streams_of_other_writers(deltas: bool) -> None:
    """Delta dictionaries, as other writers send them, are added up."""
    growing = [pa.array(["a", "b"]), pa.array(["a", "b", "c"]), pa.array(["a", "b", "c", "d"])]
    columns = [pa.DictionaryArray.from_arrays(pa.array([len(d) - 1]), d) for d in growing]
    schema = pa.schema([("t", columns[0].type)], {"tapio.topic": "a"})
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=deltas)
    with pa.ipc.new_stream(out, schema, options=options) as writer:
        for column in columns:
            writer.write_batch(pa.RecordBatch.from_arrays([column], schema=schema))
    assert any(f.delta for f in frames(out.getvalue())) is deltas
    assert [b["t"].to_pylist() for b in arrow.decode(out.getvalue())] == [["b"], ["c"], ["d"]]


def test_other_programs_read_it() -> None:
    """Both polars and duckdb read a stream of one dictionary."""
    import duckdb  # here: its bindings complain at exit where a frozen heap holds them

    data = arrow.encode([counting("a.b", 3, who=["x", None, "y"])])
    assert pl.read_ipc_stream(io.BytesIO(data))["who"].to_list() == ["x", None, "y"]
    table = pa.ipc.open_stream(data).read_all()
    relation = duckdb.connect().from_arrow(table)
    assert relation.aggregate("sum(n)").fetchall() == [(3,)]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_bodies_are_read(compression: str) -> None:
    """A modest compressed body is decoded like any other."""
    data = stream(("n", pa.array(range(1000))), compression=compression)
    assert arrow.decode(data)[0]["n"].sum() == 499_500


def test_a_large_record_batch_is_cut() -> None:
    """More rows than a batch may hold come as several batches, in order."""
    back = arrow.decode(stream(("n", pa.array(range(MAX_ROWS + 5)))))
    assert [b.rows for b in back] == [MAX_ROWS, 5]
    assert back[1]["n"].tolist() == list(range(MAX_ROWS, MAX_ROWS + 5))


def test_decoding_copies_nothing() -> None:
    """A number column is a view of the bytes that were given."""
    data = arrow.encode([counting("a", 1000)])
    at = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    column = arrow.decode(data)[0]["n"]
    assert at < column.__array_interface__["data"][0] < at + len(data)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Bytes that are no stream end in DecodeError."""
    with pytest.raises(DecodeError):
        arrow.decode(data)


STREAM = arrow.encode([*changing(), *changing()])
SPLICES = (b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f", struct.pack("<q", 1 << 31), b"\x80")


@given(st.integers(0, 2**32))
def test_damaged_bytes(seed: int) -> None:
    """A stream with some bytes overwritten, cut or removed ends in batches or in DecodeError."""
    chance = random.Random(seed)
    data = bytearray(STREAM)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data))
        splice = chance.choice((*SPLICES, chance.randbytes(1), chance.randbytes(3)))
        data[at : at + chance.choice((0, len(splice), 16))] = splice
    damaged = bytes(data[: chance.choice((len(data), chance.randrange(1, len(data))))])
    got, error = outcome(damaged)
    for batch in got:
        batch.to_arrow().validate(full=True)
    assert error is None or 0 <= error.offset <= len(damaged)
    assert len(str(error)) < 400


def outcome(data: bytes) -> tuple[list[Batch], DecodeError | None]:
    """What the bytes hold up to the first error, and that error."""
    got: list[Batch] = []
    try:
        for batch in arrow.Decoder(io.BytesIO(data).read):
            got.append(batch)
    except DecodeError as error:
        return got, error
    return got, None


@given(st.data())
def test_metadata_that_lies(data: st.DataObject) -> None:
    """Whatever a column's metadata claims, the rows are right or there is a DecodeError."""
    column = data.draw(
        st.sampled_from(
            [
                pa.array([1, -1], pa.int8()),
                pa.array([1.5, float("nan")]),
                pa.array(["a", None]),
                pa.array([b"\xff", b""]),
                pa.array([[1], []]),
                pa.array([None, None]),
                pa.array(["a", "b"]).dictionary_encode(),
                pa.array([1, 2]).dictionary_encode(),
                pa.DictionaryArray.from_arrays(
                    pa.array([0, 1], pa.uint64()), pa.array(["a", None])
                ),
            ]
        )
    )
    said = {"type": data.draw(st.sampled_from([*NUMBERS, *TEXT, "", "x"]))}
    said |= data.draw(st.sampled_from([{}, {"entity": "1"}]))
    name = data.draw(st.sampled_from(["x", "time_ns", "seq", "entity", "weight"]))
    schema = pa.schema([pa.field(name, column.type, metadata=said)], {"tapio.topic": "a"})
    out = io.BytesIO()
    with pa.ipc.new_stream(out, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([column], schema=schema))
    try:
        (batch,) = arrow.decode(out.getvalue())
    except DecodeError:
        return
    if name == "x" and "entity" not in said:
        np.testing.assert_array_equal(batch["x"], column)
    assert batch.to_arrow().validate(full=True) is None


def patched(data: bytes, field: str, value: int) -> bytes:
    """``data`` with the body length or the rows of its first record batch overwritten."""
    frame = next(f for f in frames(data) if f.kind == ipc.BATCH)
    message = ipc._Table.root(memoryview(frame.head)[8:])
    at = message.slot(3) if field == "body" else message.table(2).slot(0)
    return overwritten(data, frame.start + 8 + at, struct.pack("<q", value))


def overwritten(data: bytes, at: int, new: bytes) -> bytes:
    """``data`` with ``new`` at ``at``."""
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize("value", [-1, 1 << 40, 2**63 - 1])
@pytest.mark.parametrize(("field", "unit"), [("body", "bytes"), ("rows", "rows")])
def test_hostile_lengths(field: str, unit: str, value: int) -> None:
    """A body length or a row count of nonsense is refused before anything is read for it."""
    plain = stream(("n", pa.array(range(10))))
    with pytest.raises(DecodeError, match=f"a message of {value} {unit}") as caught:
        arrow.decode(patched(plain, field, value))
    assert caught.value.offset == frames(plain)[1].start


@pytest.mark.parametrize("value", [-8, 4, 1 << 30])
def test_hostile_metadata_length(value: int) -> None:
    """A metadata length of nonsense is refused before it is read."""
    asked = []
    data = io.BytesIO(overwritten(STREAM, 4, struct.pack("<i", value)))
    with pytest.raises(DecodeError, match=f"metadata of {value} bytes"):
        arrow.Decoder(lambda length: asked.append(length) or data.read(length))
    assert asked == [8]


def bomb(mib: int) -> bytes:
    """A few kilobytes that decode to ``mib`` MiB."""
    return stream(("n", pa.array(np.zeros(mib << 17, np.int64))), compression="zstd")


def test_a_compressed_bomb_is_refused() -> None:
    """What a compressed body says it decodes to is judged before it is decompressed."""
    data = bomb(64)
    assert len(data) < 1 << 16
    before = pa.total_allocated_bytes()
    with pytest.raises(DecodeError, match="decodes to 67108864 bytes"):
        arrow.decode(data, max_bytes=32 << 20)
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_a_negative_length_hides_nothing() -> None:
    """A buffer that says it holds less than nothing does not make room for a bomb beside it."""
    zeros = np.zeros(1 << 20, np.int64)
    data = stream(("a", pa.array(zeros)), ("b", pa.array(zeros)), compression="zstd")
    batch = next(f for f in frames(data) if f.kind == ipc.BATCH)
    hostile = overwritten(data, batch.start + len(batch.head), struct.pack("<q", -(1 << 40)))
    with pytest.raises(DecodeError, match="decodes to 8388608 bytes"):
        arrow.decode(hostile, max_bytes=4 << 20)


def test_memory_is_bounded() -> None:
    """A process with 2 GiB of address space survives a file that declares 8 GiB."""
    program = (
        "import sys, resource, pyarrow\n"
        "from tapio.codec import arrow\n"
        "from tapio.model.errors import DecodeError\n"
        "data = sys.stdin.buffer.read()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "try: arrow.decode(data)\n"
        "except DecodeError as error: print(error)\n"
    )
    data = bomb(64)
    body = next(f for f in frames(data) if f.kind == ipc.BATCH)
    at = body.start + len(body.head)
    for said in (8 << 30, 1 << 62):
        hostile = overwritten(data, at, struct.pack("<q", said))
        done = subprocess.run(
            [sys.executable, "-c", program], input=hostile, capture_output=True, check=True
        )
        assert f"decodes to {said} bytes".encode() in done.stdout


def test_dictionaries_without_a_batch_are_bounded() -> None:
    """Dictionaries that replace each other and serve no batch are not held without end."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["x" * (1 << 20)]))
    data = stream(("t", texts))
    schema, dictionary, _ = frames(data)
    again = data[dictionary.start : dictionary.end]
    with pytest.raises(DecodeError, match="dictionaries too large"):
        arrow.decode(data[: schema.end] + again * 10, max_bytes=4 << 20)
    batch = data[dictionary.end : -8]
    back = arrow.decode(data[: schema.end] + (again * 3 + batch) * 3, max_bytes=4 << 20)
    assert [b.rows for b in back] == [1, 1, 1]


def test_growing_dictionaries_are_bounded() -> None:
    """Delta dictionaries cannot add up without end, though each alone is small."""
    schema = pa.schema([("t", pa.dictionary(pa.int32(), pa.string()))], {"tapio.topic": "a"})
    out = io.BytesIO()
    texts = [str(i) * (1 << 18) for i in range(8)]
    with pa.ipc.new_stream(
        out, schema, options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    ) as writer:
        for n in range(1, 9):
            column = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), texts[:n])
            writer.write_batch(pa.RecordBatch.from_arrays([column], schema=schema))
    assert len(arrow.decode(out.getvalue())) == 8
    with pytest.raises(DecodeError, match="dictionaries too large"):
        arrow.decode(out.getvalue(), max_bytes=1 << 20)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not even a schema"),
        (b"ARROW1\0\0" + bytes(100), "an Arrow file, not an Arrow stream"),
        (b"PAR1" + bytes(100), "Parquet"),
        (b"{}" * 10, "not an Arrow stream"),
        (STREAM[:-3], "cut short"),
        (STREAM[:-20], "cut short"),
        (STREAM + b"x", "behind the end"),
        (STREAM[:-8] + STREAM, "schema is not the first"),
    ],
)
def test_the_reason_is_said(data: bytes, words: str) -> None:
    """Common mistakes are named in the error."""
    with pytest.raises(DecodeError, match=words):
        arrow.decode(data)


def test_many_columns_are_refused() -> None:
    """More columns than any topic has are refused."""
    with pytest.raises(DecodeError, match="1025 columns"):
        arrow.decode(stream(*((f"c{i}", pa.array([1])) for i in range(1025))))


def test_what_was_whole_is_given_out() -> None:
    """The batches before a damage come first, then the error with the damage's place."""
    whole = frames(STREAM)
    third = [f for f in whole if f.kind == ipc.BATCH][2]
    got, error = outcome(overwritten(STREAM, third.start, b"?"))
    assert [b["n"].tolist() for b in got] == [[0, 1, 2], [3, 4, 5]]
    assert error is not None
    assert error.offset == third.start


@given(st.integers(0, len(STREAM)))
def test_last_whole(cut: int) -> None:
    """A stream cut anywhere and then cut to its last whole batch decodes to those batches."""
    torn = STREAM[:cut]
    end, batches = arrow.last_whole(io.BytesIO(torn).read)
    assert end <= cut
    ends = [f.end for f in frames(STREAM) if f.kind != ipc.DICTIONARY]
    assert end == max([e for e in ends if e <= cut], default=0)
    assert batches == (len(arrow.decode(torn[:end])) if end else 0)


def test_last_whole_stops_at_zeros() -> None:
    """A tail of zeros, which a power loss leaves behind, is no message."""
    open_ = STREAM[:-8]
    assert arrow.last_whole(io.BytesIO(open_ + bytes(4096)).read) == (len(open_), 6)
