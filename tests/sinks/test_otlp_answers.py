"""What each answer of a receiver, or none, makes of the rows (rules 11 and 12)."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)

from tapio.model.errors import PartlyRejected, Rejected, Retryable
from tapio.sinks import Otlp
from tests.batches import counting
from tests.sinks.otlp_receiver import PROTOBUF, answering, outcome, receiving, send, taken

ROWS = counting("net.dns", 3)


async def test_refused_records_are_counted() -> None:
    """Rule 11: a partial success with a count is PartlyRejected, with the receiver's words."""
    part = ExportLogsPartialSuccess(rejected_log_records=2, error_message="too old")
    body = ExportLogsServiceResponse(partial_success=part).SerializeToString()
    error = await outcome(taken(body))
    assert isinstance(error, PartlyRejected)
    assert error.count == 2
    assert str(error) == "the receiver refused 2 records (too old)"


async def test_a_json_answer_is_understood() -> None:
    """Some receivers answer in JSON whatever they were asked in."""
    body = b'{"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": "no"}}'
    error = await outcome(taken(body, "application/json"))
    assert isinstance(error, PartlyRejected)
    assert error.count == 1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"\x0a\x00", PROTOBUF), (b"ok", "text/plain"), (b"[]", "application/json"), (b"", PROTOBUF)],
)
async def test_a_2xx_is_delivered_whatever_it_adds(body: bytes, content_type: str) -> None:
    """Rows that a receiver has taken are not sent again for a body that says nothing."""
    async with receiving(lambda _: taken(body, content_type)) as receiver:
        await send(Otlp(receiver.url), ROWS)
    assert receiver.records == [3]


async def test_a_web_page_is_no_receiver() -> None:
    """A page that says 200 to anything would swallow rows: they are held."""
    error = await outcome(taken(b"<html>welcome", "text/html"))
    assert isinstance(error, Retryable)
    assert "look at the endpoint" in str(error)


async def test_a_warning_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A message without refused records is a warning; the same again is not told."""
    part = ExportLogsPartialSuccess(error_message="use the new schema")
    body = ExportLogsServiceResponse(partial_success=part).SerializeToString()
    async with receiving(lambda _: taken(body)) as receiver:
        with caplog.at_level(logging.WARNING):
            await send(Otlp(receiver.url), ROWS, ROWS)
    assert [r.message for r in caplog.records] == [
        f"{receiver.url}/v1/logs warns: use the new schema"
    ]


@pytest.mark.parametrize(
    ("status", "todo"),
    [
        (401, "look at headers"),
        (403, "look at headers"),
        (404, "path of the endpoint"),
        (405, "path of the endpoint"),
        (408, "receiver's own log"),
        (418, "receiver's own log"),
        (429, "asked again later"),
        (500, "receiver's own log"),
        (502, "receiver's own log"),
        (503, "asked again later"),
        (504, "receiver's own log"),
    ],
)
async def test_errors_of_the_endpoint_hold_the_rows(status: int, todo: str) -> None:
    """Rule 12: no status but those of the data rejects rows; the sentence says what to do."""
    error = await outcome(answering(status))
    assert isinstance(error, Retryable)
    assert not error.too_large
    assert str(status) in str(error)
    assert todo in str(error)


@pytest.mark.parametrize("status", [400, 422])
async def test_errors_of_the_data_reject_the_rows(status: int) -> None:
    """Rule 12: 400 and 422 are about the rows."""
    assert isinstance(await outcome(answering(status, "no such field")), Rejected)


async def test_a_400_about_tls_is_the_endpoint_s() -> None:
    """What Go's servers answer to plain HTTP on a TLS port says nothing of the rows."""
    words = "Client sent an HTTP request to an HTTPS server.\n"
    error = await outcome(answering(400, words))
    assert isinstance(error, Retryable)
    assert "use https://" in str(error)


async def test_413_asks_for_less() -> None:
    """Rule 12: the engine halves what was too large."""
    error = await outcome(answering(413))
    assert isinstance(error, Retryable)
    assert error.too_large


def in_seconds(seconds: int) -> str:
    """An HTTP date."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("999999999", 3600, 3600),
        (100, 60, 101),
        (-100, 0, 0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(
    status: int, text: str | int, low: float, high: float
) -> None:
    """Rule 11: seconds or a date; a date that is past is now, and an hour is the most."""
    said = text if isinstance(text, str) else in_seconds(text)
    error = await outcome(answering(status, **{"Retry-After": said}))
    assert isinstance(error, Retryable)
    assert error.after_s is not None
    assert low <= error.after_s <= high


@pytest.mark.parametrize("text", ["", "soon", "-1", "١"])
async def test_a_retry_after_that_says_nothing_is_passed_over(text: str) -> None:
    """Neither seconds nor a date: the engine's own waits hold."""
    error = await outcome(answering(503, **{"Retry-After": text}))
    assert isinstance(error, Retryable)
    assert error.after_s is None


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (Status(code=3, message="no quota").SerializeToString(), PROTOBUF),
        (b'{"code": 3, "message": "no quota"}', "application/json"),
        (b"no\x1b[31m\n quota", "text/plain"),
    ],
)
async def test_the_receiver_s_words_are_told(body: bytes, content_type: str) -> None:
    """A Status in protobuf or JSON, or plain text without control characters."""
    error = await outcome(web.Response(status=500, body=body, content_type=content_type))
    assert "(no quota)" in str(error).replace("[31m ", "")
    assert "\x1b" not in str(error)


async def test_an_endless_answer_is_cut() -> None:
    """64 KiB of an answer are read, and 200 characters of it shown."""
    error = await outcome(answering(500, "y" * (1 << 20)))
    assert "y" * 200 + "…" in str(error)
    assert "y" * 201 not in str(error)


async def test_a_redirect_is_not_followed() -> None:
    """Headers with credentials go nowhere but to the endpoint."""
    error = await outcome(answering(307, Location="http://elsewhere/v1/logs"))
    assert isinstance(error, Retryable)
    assert "http://elsewhere/v1/logs" in str(error)


async def test_no_message_shows_a_key_of_the_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    """Some receivers have it in the path or the query: no answer, and no silence, tells it."""
    warning = ExportLogsServiceResponse(
        partial_success=ExportLogsPartialSuccess(error_message="old schema")
    )
    answers = [answering(308, Location="/a-key/v1/logs?key=a-key"), answering(500)]
    async with receiving(lambda _: answers.pop()) as receiver:
        sinks = [Otlp(f"{receiver.url}{end}") for end in ("?key=a-key", "?key=a-key", "/a-key")]
        errors = [await trouble(sink) for sink in sinks]
    errors.append(await trouble(sinks[0]))
    async with receiving(lambda _: taken(warning.SerializeToString())) as receiver:
        await send(Otlp(f"{receiver.url}?key=a-key"), ROWS)
    assert "old schema" in caplog.text
    assert "a-key" not in "".join([*errors, caplog.text])


async def trouble(sink: Otlp) -> str:
    """Why rows are held."""
    with pytest.raises(Retryable) as caught:
        await send(sink, ROWS)
    return str(caught.value)


async def test_nothing_listens() -> None:
    """A refused connection is Retryable, and says so in one sentence."""
    async with receiving() as receiver:
        pass
    with pytest.raises(Retryable, match=r"no connection .*; start the receiver") as caught:
        await send(Otlp(receiver.url), ROWS)
    assert "\n" not in str(caught.value)


async def test_a_host_without_address() -> None:
    """A name that does not resolve is Retryable: DNS may come back."""
    with pytest.raises(Retryable, match="no address; look at the name, or at DNS"):
        await send(Otlp("https://tapio.invalid"), ROWS)


async def test_no_answer_in_time() -> None:
    """A receiver that says nothing is given up after timeout_s."""

    async def never(_: web.Request) -> web.Response:
        await asyncio.sleep(10)
        return taken()

    async with receiving(never) as receiver:
        with pytest.raises(Retryable, match=r"no answer within 0\.2 s"):
            await send(Otlp(receiver.url, timeout_s=0.2), ROWS)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (b"", "the connection broke"),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "4317 is gRPC"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "the connection broke"),
    ],
)
async def test_what_is_no_http(said: bytes, sentence: str) -> None:
    """A peer that hangs up, speaks HTTP/2 or stops in the middle: Retryable."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "localhost", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Retryable, match=sentence):
            await send(Otlp(f"http://localhost:{port}"), ROWS)
