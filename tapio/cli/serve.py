"""The endpoints of a running command: /metrics, /livez, /readyz, /status.

Only the command listens. An address that is taken is no reason not to run: it is said, and the
run goes on without.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tapio.cli.boundary import UsageError

if TYPE_CHECKING:
    from aiohttp import web

DEFAULT = "127.0.0.1:9464"
"""9464 is the port that OpenTelemetry's Prometheus exporters have by default."""

STALE_S = 5.0
"""A heartbeat comes every 50 ms; one this old is of an engine that hangs."""

OPENING_S = 60.0
"""Before the first heartbeat, an engine that still opens counts as alive this long."""

INDEX = "tapio\n\n/metrics\n/livez\n/readyz\n/status\n"


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def address(text: str) -> Address | None:
    """``ADDR:PORT`` read; None for ``off``. Raises UsageError."""
    if text == "off":
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise UsageError(f"--listen {text!r}: say ADDR:PORT, as in {DEFAULT}, or off")
    return Address(host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port))


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the endpoints answer from."""

    status: Callable[[], Mapping[str, Any]]
    ready: Callable[[], bool]
    heartbeat: Callable[[], float]
    metrics: Callable[[str], tuple[str, bytes]]

    def alive(self, now: float) -> bool:
        """Whether the engine ticks, by its own heartbeat and nothing else."""
        beat = self.heartbeat()
        if beat == 0:
            return bool(self.status()["uptime_s"] < OPENING_S)
        return now - beat < STALE_S


@asynccontextmanager
async def serve(
    where: Address | None, endpoints: Endpoints, logger: logging.Logger
) -> AsyncIterator[Address | None]:
    """Listen at ``where`` until left; the address that was bound, None where none was."""
    if where is None:
        yield None
        return
    # On a thread: importing takes 0.3 s, in which the loop has sources to read.
    await asyncio.to_thread(importlib.import_module, "aiohttp.web")
    from aiohttp import web

    runner = web.AppRunner(_app(endpoints), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        yield await _listen(runner, where, logger)
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, where: Address, logger: logging.Logger) -> Address | None:
    from aiohttp import web

    try:
        await web.TCPSite(runner, where.host, where.port).start()
    except (OSError, UnicodeError) as error:  # the latter for what can be no host's name
        reason = (getattr(error, "strerror", "") or str(error)).lower()
        logger.warning(
            "cannot listen at %s (%s): going on without /metrics, /livez, /readyz and /status; "
            "name another address with --listen, or turn it off with --listen off",
            where,
            reason,
        )
        return None
    return Address(where.host, runner.addresses[0][1])


def _app(endpoints: Endpoints) -> web.Application:
    from aiohttp import web

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=INDEX)

    async def metrics(request: web.Request) -> web.Response:
        kind, body = endpoints.metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": kind})

    async def livez(request: web.Request) -> web.Response:
        return _answer(endpoints.alive(asyncio.get_running_loop().time()), "no heartbeat")

    async def readyz(request: web.Request) -> web.Response:
        return _answer(endpoints.ready(), str(endpoints.status()["state"]))

    async def status(request: web.Request) -> web.Response:
        body = msgspec.json.encode(endpoints.status())
        return web.Response(body=body, content_type="application/json")

    def _answer(good: bool, otherwise: str) -> web.Response:
        return web.Response(text=("ok" if good else otherwise) + "\n", status=200 if good else 503)

    app = web.Application(client_max_size=1024)
    for path, handler in {
        "/": index,
        "/metrics": metrics,
        "/livez": livez,
        "/readyz": readyz,
        "/status": status,
    }.items():
        app.router.add_get(path, handler)
    return app
