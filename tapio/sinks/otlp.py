"""OTLP over HTTP: rows become log records of an OpenTelemetry receiver."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from typing import Any, ClassVar

import msgspec

from tapio.codec.otlp import Encoder, Encoding
from tapio.model.batch import Batch
from tapio.model.errors import Retryable
from tapio.model.policy import Policy, Positive, Seconds
from tapio.model.secret import Secret
from tapio.model.stage import Context, Sink, Write
from tapio.sinks.otlp_answers import refusal
from tapio.sinks.otlp_sender import Sender, open_session
from tapio.sinks.otlp_target import Compression, Target, target, url_fault, whole


class Tls(Policy, frozen=True):
    """Certificates, as PEM files that are read again when they change.

    ``ca_file`` takes the place of the system's authorities; ``cert_file`` and ``key_file`` are
    what we show to the receiver. ``insecure_skip_verify`` believes any certificate.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False


class Networked(Sink, frozen=True, kw_only=True):
    """A sink's defaults where a write is mostly waiting for an answer."""

    concurrency: Positive = 4


class Otlp(Networked, frozen=True, tag="otlp"):
    """Sends rows as OTLP log records (HTTP, protobuf); the event's name is the topic.

    ``endpoint`` is the receiver's base URL. What is not said here is taken from the standard
    ``OTEL_EXPORTER_OTLP_*`` variables; at last it is http://localhost:4318. Without TLS rows go
    to this machine only, unless ``insecure`` allows another.

    ``compression: auto`` is zstd where the receiver takes it, else gzip, else none; none at once
    to this machine, where it would cost both sides and save nothing. ``encoding: padded`` makes
    records of one length where that lengthens them by a quarter at most.

    ``headers`` are shown by no message, nor is the path of an ``endpoint``: it may hold a key.

    A repeated request repeats its records: OTLP has no way to tell (rule 17). Records that the
    receiver refuses by count are ``refused``; an answer of 400 or 422 rejects the batch.
    """

    durability: ClassVar[str] = "receiver-accepted"

    endpoint: str = ""
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    compression: Compression | None = None
    encoding: Encoding = "compact"
    timeout_s: Seconds | None = None
    tls: Tls = Tls()
    insecure: bool = False

    def __post_init__(self) -> None:
        plain: dict[str, Any] = self.headers
        hidden = {n: h if isinstance(h, Secret) else Secret(h) for n, h in plain.items()}
        msgspec.structs.force_setattr(self, "headers", hidden)
        fault = url_fault(whole(self.endpoint), insecure=self.insecure) if self.endpoint else ""
        if fault:
            raise ValueError(fault)

    def open(self, cx: Context) -> AbstractAsyncContextManager[Write]:
        """Settle where and how; nothing is sent before the first rows. Raises ConfigError."""
        return _opened(target(self, os.environ), self.encoding, self.concurrency, cx)


@asynccontextmanager
async def _opened(
    target: Target, encoding: Encoding, concurrency: int, cx: Context
) -> AsyncIterator[Write]:
    """Encoding is done here, in a millisecond or two; compression by a thread."""
    encoder = Encoder(cx.resource, encoding=encoding, version=version("tapio"))
    with ThreadPoolExecutor(1, "tapio-otlp") as thread:
        async with open_session(target, concurrency) as session:
            sender = Sender(target, session, thread, cx.clock.time_ns, cx.logger)

            async def write(batch: Batch) -> None:
                try:
                    request = encoder.encode(batch)
                except OverflowError as error:
                    raise Retryable(str(error), too_large=True) from error
                if len(request) and (partial := await sender.send(request)).rejected:
                    raise refusal(partial)

            yield write
