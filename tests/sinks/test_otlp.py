"""The OTLP sink against real HTTP servers: what is sent, and how."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from aiohttp import web

from tapio.model.errors import ConfigError, Rejected, Retryable
from tapio.model.schema import Field
from tapio.model.secret import Secret
from tapio.sinks import Otlp
from tapio.sinks.otlp_target import Compression
from tests.batches import counting
from tests.contexts import context
from tests.sinks.otlp_receiver import PROTOBUF, answering, outcome, receiving, send, taken

ROWS = counting("net.dns", 3)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is taken for another machine."""
    monkeypatch.setattr("tapio.sinks.otlp_target.is_loopback", lambda host: False)


async def test_rows_arrive_as_log_records() -> None:
    """A batch is one POST to /v1/logs, and its rows are the records; none is sent for no rows."""
    async with receiving() as receiver:
        await send(Otlp(receiver.url), ROWS, counting("net.dns", 0), counting("net.dns", 5))
    assert receiver.records == [3, 5]
    request = receiver.requests[0]
    assert request.headers["Content-Type"] == PROTOBUF
    assert request.headers["User-Agent"].startswith("tapio/")
    assert request.path == "/v1/logs"


async def test_connections_are_kept() -> None:
    """Requests one after another travel on one connection."""
    peers = set()

    def answer(request: web.Request) -> web.Response:
        peers.add(request.transport.get_extra_info("peername"))
        return taken()

    async with receiving(answer) as receiver:
        await send(Otlp(receiver.url), ROWS, ROWS, ROWS)
    assert len(peers) == 1


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@pytest.mark.parametrize("rows", [3, 20_000])
async def test_compressed_bodies_hold_the_same_records(compression: Compression, rows: int) -> None:
    """Small requests and such as are compressed by a thread and sent in pieces."""
    async with receiving() as receiver:
        await send(Otlp(receiver.url, compression=compression), counting("net.dns", rows))
    assert receiver.encodings == [compression]
    assert receiver.records == [rows]


async def test_auto_is_none_on_this_machine() -> None:
    """On loopback bytes cost nothing and compressing does."""
    async with receiving() as receiver:
        await send(Otlp(receiver.url), ROWS)
    assert receiver.encodings == ["none"]


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("refusal", [400, 415])
async def test_auto_finds_what_the_receiver_takes(refusal: int) -> None:
    """First zstd; where it is refused gzip, and that is remembered."""

    def answer(request: web.Request) -> web.Response:
        gzip = request.headers.get("Content-Encoding") == "gzip"
        return taken() if gzip else answering(refusal, "unsupported encoding")

    async with receiving(answer) as receiver:
        await send(Otlp(receiver.url, insecure=True), ROWS, ROWS)
    assert receiver.encodings == ["zstd", "gzip", "gzip"]


@pytest.mark.usefixtures("elsewhere")
async def test_a_400_of_the_data_does_not_change_the_compression() -> None:
    """Once zstd was taken, 400 is about the rows: they are rejected, and zstd goes on."""
    answers = [taken(), answering(400, "bad"), taken()]
    async with (
        receiving(lambda _: answers.pop(0)) as receiver,
        Otlp(receiver.url, insecure=True).open(context()) as write,
    ):
        await write(ROWS)
        with pytest.raises(Rejected, match="bad"):
            await write(ROWS)
        await write(ROWS)
    assert receiver.encodings == ["zstd"] * 3


@pytest.mark.usefixtures("elsewhere")
async def test_a_400_of_the_first_rows_is_tried_in_every_compression() -> None:
    """Before anything was taken a 400 may mean either; that of the plain rows counts."""
    async with receiving(lambda _: answering(400, "bad")) as receiver:
        with pytest.raises(Rejected):
            await send(Otlp(receiver.url, insecure=True), ROWS)
    assert receiver.encodings == ["zstd", "gzip", "none"]


async def test_a_compression_that_was_asked_for_is_not_changed() -> None:
    """415 to an explicit compression holds the rows and says what to set."""
    error = await outcome(answering(415), {"compression": "gzip"})
    assert isinstance(error, Retryable)
    assert "compression: none" in str(error)


async def test_what_cannot_be_encoded_whole_asks_for_less() -> None:
    """A batch that is over 256 MiB as OTLP is halved as if the receiver had said so."""
    text = pa.DictionaryArray.from_arrays(np.zeros(5000, np.int32), ["x" * 65_536])
    batch = counting("net.dns", 5000).with_columns({Field("name", "text"): text})
    async with Otlp().open(context()) as write:
        with pytest.raises(Retryable) as caught:
            await write(batch)
    assert caught.value.too_large


async def test_headers_are_sent_and_never_shown() -> None:
    """Secrets go on the wire as they are at that moment; an echo of them is hidden."""
    values = iter(["Bearer first-token\n", "Bearer first-token\n", "Bearer second-token"])
    spec = {"Authorization": Secret(lambda: next(values)), "X-Scope": Secret("team")}

    def answer(request: web.Request) -> web.Response:
        return answering(500, f"you sent {request.headers['Authorization']}")

    async with receiving(answer) as receiver:
        sink = Otlp(receiver.url, headers=spec)
        async with sink.open(context()) as write:
            errors = []
            for _ in range(2):
                with pytest.raises(Retryable) as caught:
                    await write(ROWS)
                errors.append(str(caught.value))
    sent = [(r.headers["Authorization"], r.headers["X-Scope"]) for r in receiver.requests]
    assert sent == [("Bearer first-token", "team"), ("Bearer second-token", "team")]
    assert all("token" not in text for text in (*errors, repr(sink)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("Content-Type", "x"), ("a b", "x"), ("Authorization", "a\r\nb: c"), ("X", "ä")],
)
async def test_headers_that_cannot_be_sent_are_refused(name: str, value: str) -> None:
    """What would break the request is a ConfigError at once, which shows no value."""
    with pytest.raises(ConfigError, match="headers") as caught:
        async with Otlp(headers={name: Secret(value)}).open(context()):
            pass
    assert value not in str(caught.value).replace(name, "") or value == "x"


async def test_a_secret_that_has_gone_holds_the_rows() -> None:
    """A secret file that cannot be read in the midst of a run is the endpoint's trouble."""

    def values() -> Iterator[str]:
        yield "fine"
        raise ConfigError("cannot read the token's file")

    told = values()
    async with receiving() as receiver:
        sink = Otlp(receiver.url, headers={"X": Secret(lambda: next(told))})
        async with sink.open(context()) as write:
            with pytest.raises(Retryable, match="cannot read the token's file"):
                await write(ROWS)
    assert receiver.requests == []


async def test_a_cancelled_write_leaves_the_sink_usable() -> None:
    """Cancelled in the middle of a request, the next one goes out as ever."""
    hold = asyncio.Event()

    async def wait_once(_: web.Request) -> web.Response:
        if not hold.is_set():
            hold.set()
            await asyncio.sleep(10)
        return taken()

    async with receiving(wait_once) as receiver, Otlp(receiver.url).open(context()) as write:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(write(ROWS))
            await hold.wait()
            task.cancel()
        await write(ROWS)
    assert receiver.records == [3, 3]


async def test_four_writes_at_once_keep_apart() -> None:
    """The encoder's scratch memory is shared by all writes, what they send is not."""
    async with (
        receiving() as receiver,
        Otlp(receiver.url).open(context()) as write,
        asyncio.TaskGroup() as group,
    ):
        for n in range(1, 9):
            group.create_task(write(counting("net.dns", 500 * n)))
    assert sorted(receiver.records) == [500 * n for n in range(1, 9)]


async def test_padded_is_decoded_the_same() -> None:
    """The layout changes bytes and no record."""
    batch = counting("net.dns", 40, name=["alpha", "beta", "gamma", "epsilon"] * 10)
    sizes = {}
    async with receiving() as receiver:
        for encoding in ("compact", "padded"):
            await send(Otlp(receiver.url, encoding=encoding), batch)
            sizes[encoding] = int(receiver.requests[-1].headers["Content-Length"])
    assert receiver.records == [40, 40]
    assert sizes["padded"] > sizes["compact"]


async def test_the_resource_of_the_pipeline_is_sent() -> None:
    """Context.resource is every record's resource."""
    async with receiving() as receiver:
        await send(Otlp(receiver.url), ROWS)
    assert receiver.resources == [{"host.name": "node-1"}]
