"""The endpoints of a run: what they answer, and an address that is taken."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tapio.cli import serve
from tapio.cli.boundary import UsageError
from tapio.cli.meters import Meters, pushed
from tapio.cli.serve import STALE_S, Address, Endpoints, address
from tapio.model.errors import ConfigError
from tests.cli.statuses import status

LOGGER = logging.getLogger("tapio.test")
HERE = Address("127.0.0.1", 0)


class Engine:
    """What the endpoints ask: a status, whether it is ready, its heartbeat."""

    def __init__(self) -> None:
        self.ready = True
        self.heartbeat = 0.0
        self.said: dict[str, Any] = status()

    def status(self) -> Mapping[str, Any]:
        """What was said."""
        return self.said


@asynccontextmanager
async def serving(engine: Engine, where: Address = HERE) -> AsyncIterator[str]:
    """The endpoints of ``engine``; where they are."""
    meters = Meters({"service.name": "tapio"}, push=False)
    meters.observe(engine.status())

    def page(accept: str) -> tuple[str, bytes]:
        meters.board = engine.status()
        return meters.page(accept)

    points = Endpoints(engine.status, lambda: engine.ready, lambda: engine.heartbeat, page)
    async with serve.serve(where, points, LOGGER) as bound:
        assert bound is not None
        yield str(bound)
    meters.close()


async def get(url: str, **headers: str) -> tuple[int, str, str]:
    """(status, content type, body)."""
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_status_is_the_engines() -> None:
    """JSON of all that status() says, at the moment it is asked; NaN is null."""
    engine = Engine()
    async with serving(engine) as url:
        code, kind, body = await get(f"{url}/status")
        assert (code, kind.split(";")[0]) == (200, "application/json")
        assert msgspec.json.decode(body) == engine.said
        engine.said = status(uptime_s=float("nan"))
        _, _, body = await get(f"{url}/status")
        assert msgspec.json.decode(body)["uptime_s"] is None


async def test_metrics_are_of_now() -> None:
    """Each page is of the status at that moment, in text or OpenMetrics, with the process's."""
    engine = Engine()
    async with serving(engine) as url:
        code, kind, body = await get(f"{url}/metrics")
        assert code == 200
        assert kind.startswith("text/plain; version=")
        families = {f.name: f for f in text_string_to_metric_families(body)}
        assert families["tapio_source_taken_rows"].samples[0].value == 1_200
        assert "process_resident_memory_bytes" in families
        assert 'service_name="tapio"' in body
        engine.said = status(imbalance=3)
        _, _, body = await get(f"{url}/metrics")
        assert 'tapio_imbalance_rows{pipeline="node"} 3.0' in body
        _, kind, body = await get(f"{url}/metrics", Accept="application/openmetrics-text")
        assert kind.startswith("application/openmetrics-text")
        assert body.endswith("# EOF\n")


async def test_alive_is_a_fresh_heartbeat() -> None:
    """200 while the engine ticks, 503 once it has not for a while; nothing else counts."""
    engine = Engine()
    now = asyncio.get_running_loop().time
    async with serving(engine) as url:
        engine.heartbeat = now()
        engine.ready = False
        assert (await get(f"{url}/livez"))[0] == 200
        engine.heartbeat = now() - STALE_S - 1
        assert (await get(f"{url}/livez"))[::2] == (503, "no heartbeat\n")


async def test_an_engine_that_opens_is_alive_for_a_while() -> None:
    """Before its first tick it is given a minute."""
    engine = Engine()
    async with serving(engine) as url:
        assert (await get(f"{url}/livez"))[0] == 200
        engine.said = status(uptime_s=61.0)
        assert (await get(f"{url}/livez"))[0] == 503


async def test_ready_is_that_sources_are_attached() -> None:
    """503 says the state that it is in instead."""
    engine = Engine()
    async with serving(engine) as url:
        assert (await get(f"{url}/readyz"))[::2] == (200, "ok\n")
        engine.ready, engine.said = False, status(state="stopping")
        assert (await get(f"{url}/readyz"))[::2] == (503, "stopping\n")


async def test_what_there_is_not() -> None:
    """/ lists the endpoints; other paths and methods are refused."""
    async with serving(Engine()) as url:
        assert "/metrics" in (await get(url))[2]
        assert (await get(f"{url}/nothing"))[0] == 404
        async with aiohttp.ClientSession() as session, session.post(f"{url}/status") as answer:
            assert answer.status == 405


async def test_an_address_that_is_taken_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on without endpoints; the warning says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = Address("127.0.0.1", taken.getsockname()[1])
        async with serve.serve(where, Endpoints(dict, bool, float, unasked), LOGGER) as bound:
            assert bound is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"cannot listen at {where} (" in record.getMessage()
    assert "--listen off" in record.getMessage()


def unasked(accept: str) -> tuple[str, bytes]:
    """A page that nobody asks for."""
    raise AssertionError


async def test_an_address_that_is_not_ours_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """A name that does not resolve, or can be none, and an address of another machine, too."""
    hosts = ("192.0.2.1", "no.such.name.invalid", "a" * 64)
    for host in hosts:
        where = Address(host, 9464)
        async with serve.serve(where, Endpoints(dict, bool, float, unasked), LOGGER) as bound:
            assert bound is None
    assert len(caplog.records) == len(hosts)


async def test_off_listens_nowhere() -> None:
    """No server, and no import of one."""
    async with serve.serve(None, Endpoints(dict, bool, float, unasked), LOGGER) as bound:
        assert bound is None


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("127.0.0.1:9464", Address("127.0.0.1", 9464)),
        ("[::1]:80", Address("::1", 80)),
        (":9464", Address("127.0.0.1", 9464)),
        ("localhost:0", Address("localhost", 0)),
        ("off", None),
    ],
)
def test_addresses_are_read(text: str, where: Address | None) -> None:
    """ADDR:PORT with names and IPv6; without an address, loopback."""
    assert address(text) == where
    if where is not None:
        assert address(str(where).removeprefix("http://")) == where


@pytest.mark.parametrize("text", ["", "9464", "host:", "host:x", "host:65536", "host:-1", "host:²"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """The sentence shows one."""
    with pytest.raises(UsageError, match="say ADDR:PORT"):
        address(text)


def test_what_the_kernel_lost_is_found_among_the_metrics() -> None:
    """The sum over all sources and topics of what found a ring full; 0 without a kernel source."""
    from opentelemetry.metrics import CallbackOptions, Observation

    meters = Meters({}, push=False)
    meters.observe(status())
    assert meters.kernel_lost() == 0

    def rows(options: CallbackOptions) -> list[Observation]:
        return [
            Observation(n, {"source": source, "topic": "a", "account": account})
            for source, account, n in (("x", "lost", 3), ("x", "taken", 50), ("y", "lost", 4))
        ]

    meters.meter.create_observable_gauge("tapio_kernel_rows", [rows])
    assert meters.kernel_lost() == 7
    meters.close()


def test_metrics_are_pushed_where_the_environment_says_so() -> None:
    """OTEL_METRICS_EXPORTER names otlp, perhaps among others."""
    assert pushed({"OTEL_METRICS_EXPORTER": "console, otlp"})
    assert not pushed({"OTEL_METRICS_EXPORTER": "none"})
    assert not pushed({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})


@pytest.mark.parametrize("headers", ["authorization Bearer a-key", "a b=a-key", "x=a-key\ny", "="])
def test_headers_that_cannot_be_pushed_are_not_shown(
    headers: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is wrong with them is an error of the configuration; no value is told or logged."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    with pytest.raises(ConfigError) as caught:
        Meters({}, push=True)
    assert "a-key" not in str(caught.value) + caplog.text


async def test_pushed_metrics_arrive(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A collector gets the table over OTLP at the end at the latest, with headers never logged."""
    from aiohttp import web
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

    bodies: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        assert request.headers["x"] == "a\\key"
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/metrics", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x=a\\key, ,")
    meters = Meters({"service.name": "tapio"}, push=True)
    meters.observe(status())
    await asyncio.to_thread(meters.close)
    await runner.cleanup()
    request = ExportMetricsServiceRequest.FromString(bodies[-1])
    names = {m.name for m in request.resource_metrics[0].scope_metrics[0].metrics}
    assert "tapio_source_taken_rows" in names
    assert "key" not in caplog.text
