"""A receiver of OTLP on loopback whose answers a test decides."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pyarrow as pa
import pytest
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs

from tapio.model.batch import Batch
from tapio.model.errors import PartlyRejected, Rejected, Retryable
from tapio.sinks.otlp import Otlp
from tests.batches import counting
from tests.contexts import context

PROTOBUF = "application/x-protobuf"


def taken(body: bytes = b"", content_type: str = PROTOBUF) -> web.Response:
    """The answer of a receiver that took all."""
    return web.Response(body=body, content_type=content_type)


@dataclass
class Receiver:
    """Answers by ``answer``; remembers what it was asked."""

    answer: Callable[[web.Request], web.StreamResponse | Awaitable[web.StreamResponse]]
    port: int = 0
    scheme: str = "http"
    requests: list[web.Request] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{self.scheme}://localhost:{self.port}"

    @property
    def encodings(self) -> list[str]:
        """The compression of each request."""
        return [r.headers.get("Content-Encoding", "none") for r in self.requests]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.requests.append(request)
        body = await request.read()
        said = _decoded(body, self.encodings[-1])
        self.records.append(sum(len(s.log_records) for r in said for s in r.scope_logs))
        self.resources += [
            {a.key: a.value.string_value for a in r.resource.attributes} for r in said
        ]
        answer = self.answer(request)
        return answer if isinstance(answer, web.StreamResponse) else await answer


def _decoded(body: bytes, encoding: str) -> list[ResourceLogs]:
    """What ``body`` says."""
    if encoding == "zstd":
        body = pa.input_stream(pa.py_buffer(body), compression="zstd").read()
    elif encoding == "gzip":
        body = zlib.decompress(body, wbits=31)
    return list(ExportLogsServiceRequest.FromString(body).resource_logs)


@asynccontextmanager
async def receiving(
    answer: Callable[[web.Request], web.StreamResponse | Awaitable[web.StreamResponse]] = (
        lambda _: taken()
    ),
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Receiver]:
    """A receiver that listens on a port of its own."""
    receiver = Receiver(answer, scheme="https" if tls else "http")
    app = web.Application(client_max_size=1 << 26, handler_args={"auto_decompress": False})
    app.router.add_post("/v1/logs", receiver.handle)
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=tls)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)


async def send(spec: Otlp, *batches: Batch) -> None:
    """Open ``spec`` and write ``batches`` one after another."""
    async with spec.open(context(resource={"host.name": "node-1"})) as write:
        for batch in batches:
            await write(batch)


def answering(status: int, text: str = "", **headers: str) -> web.Response:
    """An answer with a text."""
    return web.Response(status=status, text=text, headers=headers)


async def outcome(response: web.Response, spec: dict[str, object] | None = None) -> Exception:
    """What Write raises when a receiver answers so."""
    async with receiving(lambda _: response) as receiver:
        with pytest.raises((Retryable, Rejected, PartlyRejected)) as caught:
            await send(Otlp(receiver.url, **(spec or {})), counting("net.dns", 3))
    return caught.value
