"""TLS against real servers: what is wrong is said in one sentence, and rows are held."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from tapio.model.errors import ConfigError, Retryable
from tapio.sinks import Otlp
from tapio.sinks.otlp import Tls
from tests.batches import counting
from tests.contexts import context
from tests.sinks.otlp_receiver import receiving, send

ROWS = counting("net.dns", 3)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    """Its certificate in a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def server(leaf: trustme.LeafCert, clients: trustme.CA | None = None) -> ssl.SSLContext:
    """A server's side; it asks for a client's certificate if ``clients`` signs those."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    leaf.configure_cert(tls)
    if clients is not None:
        clients.configure_trust(tls)
        tls.verify_mode = ssl.CERT_REQUIRED
    return tls


def client(leaf: trustme.LeafCert, folder: Path) -> dict[str, str]:
    """A client's certificate and key as files."""
    cert, key = folder / "client.pem", folder / "client.key"
    leaf.private_key_pem.write_to_path(key)
    cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    return {"cert_file": str(cert), "key_file": str(key)}


async def refused(tls: ssl.SSLContext, **files: Any) -> str:
    """What Write says of a server that TLS does not let us talk to."""
    async with receiving(tls=tls) as receiver:
        with pytest.raises(Retryable) as caught:
            await send(Otlp(receiver.url, tls=Tls(**files)), ROWS)
    assert "\n" not in str(caught.value)
    assert receiver.records == []
    return str(caught.value)


async def test_a_trusted_server_gets_the_rows(authority: trustme.CA, ca_file: str) -> None:
    """A certificate signed by the CA that was given."""
    async with receiving(tls=server(authority.issue_cert("localhost"))) as receiver:
        await send(Otlp(receiver.url, tls=Tls(ca_file=ca_file)), ROWS)
    assert receiver.records == [3]


async def test_an_expired_certificate(authority: trustme.CA, ca_file: str) -> None:
    """The sentence says that it has expired."""
    leaf = authority.issue_cert("localhost", not_after=datetime.now(UTC) - timedelta(days=1))
    assert "has expired; have it renewed" in await refused(server(leaf), ca_file=ca_file)


async def test_an_unknown_authority(authority: trustme.CA) -> None:
    """The sentence names the setting and the variable."""
    said = await refused(server(authority.issue_cert("localhost")))
    assert "tls.ca_file (OTEL_EXPORTER_OTLP_CERTIFICATE)" in said


async def test_another_name(authority: trustme.CA, ca_file: str) -> None:
    """A certificate of another host."""
    leaf = authority.issue_cert("other.example")
    assert "is for another name" in await refused(server(leaf), ca_file=ca_file)


async def test_verification_can_be_switched_off(authority: trustme.CA) -> None:
    """insecure_skip_verify believes any certificate."""
    async with receiving(tls=server(authority.issue_cert("other.example"))) as receiver:
        await send(Otlp(receiver.url, tls=Tls(insecure_skip_verify=True)), ROWS)
    assert receiver.records == [3]


async def test_a_client_certificate_is_shown(
    authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    """Where the server asks for one, and says so where there is none or a wrong one."""
    tls = server(authority.issue_cert("localhost"), clients=authority)
    assert "tls.cert_file" in await refused(tls, ca_file=ca_file)
    stranger = client(trustme.CA().issue_cert("node-1"), tmp_path)
    assert "tls.cert_file" in await refused(tls, ca_file=ca_file, **stranger)
    files = Tls(ca_file=ca_file, **client(authority.issue_cert("node-1"), tmp_path))
    async with receiving(tls=tls) as receiver:
        await send(Otlp(receiver.url, tls=files), ROWS)
    assert receiver.records == [3]


async def test_a_server_without_tls() -> None:
    """https:// to a port that speaks plain HTTP."""
    async with receiving() as receiver:
        url = f"https://localhost:{receiver.port}"
        with pytest.raises(Retryable, match="does not speak TLS on this port; use http://"):
            await send(Otlp(url), ROWS)


async def test_a_new_ca_file_is_taken_up(authority: trustme.CA, tmp_path: Path) -> None:
    """Certificates are rotated under a running agent: while half written, the old one holds."""
    path = tmp_path / "used.pem"
    trustme.CA().cert_pem.write_to_path(path)
    async with receiving(tls=server(authority.issue_cert("localhost"))) as receiver:
        sink = Otlp(receiver.url, tls=Tls(ca_file=str(path)))
        async with sink.open(context()) as write:
            for broken in (None, "-----BEGIN CERTIFICATE-----\nhalf"):
                if broken:
                    path.write_text(broken)
                with pytest.raises(Retryable, match="signed by nobody known"):
                    await write(ROWS)
            authority.cert_pem.write_to_path(path)
            await write(ROWS)
            path.unlink()
            await write(ROWS)
    assert receiver.records == [3, 3]


def broken_files(folder: Path, ca_file: str) -> Iterator[dict[str, str]]:
    """Settings of which no connection can be made."""
    text = folder / "text"
    text.write_text("no certificate")
    yield {"ca_file": str(folder / "missing")}
    yield {"ca_file": str(text)}
    yield {"ca_file": str(folder)}
    yield {"cert_file": str(text), "key_file": str(text)}
    yield {"cert_file": ca_file, "key_file": str(text)}


async def test_files_that_cannot_be_used_are_named_at_the_start(
    ca_file: str, tmp_path: Path
) -> None:
    """A ConfigError that names the file, before any row is taken."""
    for files in broken_files(tmp_path, ca_file):
        with pytest.raises(ConfigError) as caught:
            async with Otlp("https://localhost", tls=Tls(**files)).open(context()):
                pass
        assert next(iter(files.values())) in str(caught.value)
        assert caught.value.path == "tls"


async def test_a_certificate_that_was_renewed_is_shown(
    authority: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    """The client's own certificate is read again when its file changes."""
    tls = server(authority.issue_cert("localhost"), clients=authority)
    expired = authority.issue_cert("node-1", not_after=datetime.now(UTC) - timedelta(days=1))
    files = client(expired, tmp_path)
    async with receiving(tls=tls) as receiver:
        sink = Otlp(receiver.url, tls=Tls(ca_file=ca_file, **files))
        async with sink.open(context()) as write:
            with pytest.raises(Retryable, match=r"tls\.cert_file"):
                await write(ROWS)
            client(authority.issue_cert("node-1"), tmp_path)
            await write(ROWS)
    assert receiver.records == [3]
