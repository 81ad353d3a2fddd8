"""``Sender``: requests to one receiver: compressed, authenticated, answered within bounds."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import TYPE_CHECKING

import pyarrow as pa

from tapio.codec.otlp.reply import Partial
from tapio.model.errors import ConfigError, Retryable
from tapio.model.secret import HIDDEN
from tapio.sinks.otlp_answers import Answer, accepted, failure, no_answer
from tapio.sinks.otlp_target import Compression, Target, revealed
from tapio.sinks.otlp_tls import Certificates

if TYPE_CHECKING:
    import aiohttp

MAX_REPLY = 64 << 10
"""Bytes of an answer that are read."""

_PIECE = 256 << 10
"""Bytes of a request that are given to the socket at a time."""

_AT_ONCE = 32 << 10
"""Smaller requests are compressed where they are made: quicker than a thread's turn."""

_LESS: dict[Compression, Compression] = {"zstd": "gzip", "gzip": "none"}
"""What is tried where a compression is not taken."""


class Sender:
    """Sends requests; ``auto`` compression finds out once what the receiver takes."""

    def __init__(
        self,
        target: Target,
        session: aiohttp.ClientSession,
        thread: ThreadPoolExecutor,
        time_ns: Callable[[], int],
        logger: logging.Logger,
    ) -> None:
        """Look at certificates and headers. Raises ConfigError."""
        self._target = target
        self._session = session
        self._thread = thread
        self._time_ns = time_ns
        self._logger = logger
        self._certificates = Certificates(target) if target.url.startswith("https") else None
        self._taken: Compression | None = None
        self._warned = ""
        revealed(target.headers)

    async def send(self, request: memoryview) -> Partial:
        """Send an ExportLogsServiceRequest; how many of its records were refused.

        Raises Retryable or Rejected. Cancelled, it may or may not have arrived.
        """
        compression = self._first()
        while True:
            answer = await self._post(await self._compressed(request, compression), compression)
            if 200 <= answer.status < 300:
                self._taken = compression
                return self._warn(accepted(answer))
            if not self._may_be_compression(answer.status, compression):
                raise failure(answer, self._target.shown, self._time_ns() / 1e9)
            compression = _LESS[compression]

    def _first(self) -> Compression:
        """The compression to try first."""
        if self._target.compression != "auto":
            return self._target.compression
        return "none" if self._target.loopback else self._taken or "zstd"

    def _may_be_compression(self, status: int, compression: Compression) -> bool:
        """Whether an error may mean that the receiver does not take ``compression``.

        415 says so; some say 400, which means the data once the compression has been taken.
        """
        if self._target.compression != "auto" or compression not in _LESS:
            return False
        return status == 415 or (status == 400 and self._taken != compression)

    async def _compressed(
        self, request: memoryview, compression: Compression
    ) -> memoryview | bytes:
        if compression == "none":
            return request
        if len(request) < _AT_ONCE:
            return compress(request, compression)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, compress, request, compression)

    async def _post(self, body: memoryview | bytes, compression: Compression) -> Answer:
        import aiohttp

        try:
            secret = revealed(self._target.headers)
            headers = secret | {"Content-Length": str(len(body))}
            if compression != "none":
                headers["Content-Encoding"] = compression
            async with self._session.post(
                self._target.url,
                data=_pieces(body),
                headers=headers,
                ssl=self._certificates.context() if self._certificates else True,
                allow_redirects=False,
            ) as response:
                return await _answer(response, secret.values())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise no_answer(error, self._target) from error
        except ConfigError as error:  # a secret's file has gone
            raise Retryable(str(error)) from error

    def _warn(self, partial: Partial) -> Partial:
        """A message without refused records is a warning; each is told once."""
        if partial.message and not partial.rejected and partial.message != self._warned:
            self._warned = partial.message
            self._logger.warning("%s warns: %.200s", self._target.shown, partial.message)
        return partial


def open_session(target: Target, connections: int) -> aiohttp.ClientSession:
    """A session of at most ``connections``; answers are to come uncompressed."""
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=target.timeout_s),
        headers={
            "User-Agent": f"tapio/{version('tapio')}",
            "Content-Type": "application/x-protobuf",
            "Accept-Encoding": "identity",
        },
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def compress(data: memoryview, compression: Compression) -> bytes:
    """``data`` as one zstd frame or gzip member, at level 1: telemetry is sent once."""
    if compression == "zstd":
        codec = pa.Codec("zstd", compression_level=1)
        compressed: bytes = codec.compress(data, asbytes=True)
        return compressed
    return zlib.compress(data, level=1, wbits=31)


async def _pieces(body: memoryview | bytes) -> AsyncIterator[memoryview]:
    whole = memoryview(body)
    for at in range(0, len(whole), _PIECE):
        yield whole[at : at + _PIECE]


async def _answer(response: aiohttp.ClientResponse, secrets: Iterable[str]) -> Answer:
    body = bytearray()
    while part := await response.content.read(MAX_REPLY - len(body)):
        body += part
    said = bytes(body)
    for word in (w for secret in secrets for w in secret.split() if len(w) > 4):
        said = said.replace(word.encode(), HIDDEN.encode())  # some receivers echo a request
    return Answer(
        response.status,
        response.content_type if "Content-Type" in response.headers else "",
        response.headers.get("Retry-After", ""),
        response.headers.get("Location", ""),
        said,
    )
