"""Endpoint, headers, compression and certificates: the spec, then the standard variables."""

from __future__ import annotations

import pytest

from tapio.model.errors import ConfigError
from tapio.model.secret import Secret
from tapio.sinks import Otlp
from tapio.sinks.otlp import Tls
from tapio.sinks.otlp_target import Target, revealed, shown, target

P = "OTEL_EXPORTER_OTLP_"


def settled(spec: Otlp | None = None, **variables: str) -> Target:
    """The target of ``spec`` where ``variables`` are set."""
    return target(spec or Otlp(), {P + name: value for name, value in variables.items()})


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://localhost:4318/v1/logs"),
        ({"ENDPOINT": "http://127.0.0.1:99"}, "http://127.0.0.1:99/v1/logs"),
        ({"ENDPOINT": "https://x/base/"}, "https://x/base/v1/logs"),
        ({"ENDPOINT": "https://x/v1/logs"}, "https://x/v1/logs/v1/logs"),
        ({"LOGS_ENDPOINT": "https://x/any"}, "https://x/any"),
        ({"LOGS_ENDPOINT": "https://x"}, "https://x"),
        ({"LOGS_ENDPOINT": "https://x/any", "ENDPOINT": "https://y"}, "https://x/any"),
        ({"LOGS_ENDPOINT": " ", "ENDPOINT": ""}, "http://localhost:4318/v1/logs"),
        ({"ENDPOINT": "https://x/base?key=1"}, "https://x/base/v1/logs?key=1"),
    ],
)
def test_endpoint_variables(variables: dict[str, str], url: str) -> None:
    """The one for logs is used as it is, the other is a base URL; empty is not set."""
    assert settled(**variables).url == url


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/logs"),
        ("https://x/otlp/", "https://x/otlp/v1/logs"),
        ("https://x/otlp/v1/logs", "https://x/otlp/v1/logs"),
        ("https://x/otlp/?key=1", "https://x/otlp/v1/logs?key=1"),
    ],
)
def test_the_spec_s_endpoint(endpoint: str, url: str) -> None:
    """A base URL, or the whole one; variables do not change it."""
    assert settled(Otlp(endpoint), LOGS_ENDPOINT="https://other").url == url


def test_the_spec_wins_over_variables() -> None:
    """What a config says of headers, compression, time and certificates holds."""
    spec = Otlp(
        headers={"a": Secret("1")},
        compression="gzip",
        timeout_s=3,
        tls=Tls(ca_file="ca", cert_file="cert", key_file="key", insecure_skip_verify=True),
    )
    variables = {"HEADERS": "b=2", "COMPRESSION": "none", "TIMEOUT": "9000", "CERTIFICATE": "x"}
    made = settled(spec, CLIENT_CERTIFICATE="y", CLIENT_KEY="z", **variables)
    assert {n: s.reveal() for n, s in made.headers.items()} == {"a": "1"}
    assert (made.compression, made.timeout_s, made.verify) == ("gzip", 3, False)
    assert (made.ca_file, made.cert_file, made.key_file) == ("ca", "cert", "key")


def test_variables_for_logs_win_over_those_for_all() -> None:
    """Each of the standard variables, in both forms."""
    made = settled(
        HEADERS="a=1",
        LOGS_HEADERS="b=2",
        COMPRESSION="zstd",
        LOGS_COMPRESSION="gzip",
        TIMEOUT="1000",
        LOGS_TIMEOUT="2500",
        CERTIFICATE="ca",
        LOGS_CERTIFICATE="logs-ca",
        CLIENT_CERTIFICATE="cert",
        LOGS_CLIENT_CERTIFICATE="logs-cert",
        CLIENT_KEY="key",
        LOGS_CLIENT_KEY="logs-key",
    )
    assert {n: s.reveal() for n, s in made.headers.items()} == {"b": "2"}
    assert (made.compression, made.timeout_s, made.verify) == ("gzip", 2.5, True)
    assert (made.ca_file, made.cert_file, made.key_file) == ("logs-ca", "logs-cert", "logs-key")


def test_defaults() -> None:
    """With nothing said: auto compression, ten seconds, the system's authorities."""
    made = settled()
    assert (made.compression, made.timeout_s, made.ca_file, made.verify) == ("auto", 10, "", True)
    assert made.loopback


def test_headers_are_percent_decoded() -> None:
    """Names and values; blanks around pairs do not count, and a value may hold ``=``."""
    made = settled(HEADERS="Authorization=Basic%20YTpi=, x%2Dscope = a%2Cb ,")
    revealed = {name: secret.reveal() for name, secret in made.headers.items()}
    assert revealed == {"Authorization": "Basic YTpi=", "x-scope": "a,b"}
    assert "YTpi" not in repr(made)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("HEADERS", "token", "HEADERS is not a list of name=value"),
        ("HEADERS", "=token", "HEADERS is not a list of name=value"),
        ("TIMEOUT", "10s", "TIMEOUT is '10s'; use whole milliseconds"),
        ("TIMEOUT", "0", "use whole milliseconds above 0"),
        ("TIMEOUT", "-5", "use whole milliseconds above 0"),
        ("COMPRESSION", "brotli", "COMPRESSION is 'brotli'; use one of auto, zstd, gzip, none"),
        ("PROTOCOL", "grpc", "Tapio sends http/protobuf: set that"),
        ("LOGS_PROTOCOL", "http/json", "Tapio sends http/protobuf: set that"),
        ("CLIENT_KEY", "key.pem", "needs cert_file and key_file"),
        ("ENDPOINT", "localhost:4318", "not an http:// or https:// URL"),
        ("ENDPOINT", "http://[::1", "not a URL"),
        ("ENDPOINT", "http://x:port", "not a URL"),
        ("ENDPOINT", "grpc://x", "not an http:// or https:// URL"),
        ("ENDPOINT", "https://", "not an http:// or https:// URL"),
        ("ENDPOINT", "https://user:token@x", "put them into headers"),
        ("ENDPOINT", "http://collector:4318", "use https://, or say insecure: true"),
    ],
)
def test_what_cannot_be_used_is_named(name: str, value: str, reason: str) -> None:
    """Each is a ConfigError that says what to write instead, and shows no token."""
    with pytest.raises(ConfigError) as caught:
        settled(**{name: value})
    assert reason in str(caught.value)
    assert "token" not in str(caught.value)


def test_the_variable_that_is_wrong_is_named() -> None:
    """An endpoint of the environment is not said to be one of the configuration."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"):
        with pytest.raises(ConfigError, match=f"^{name}: ") as caught:
            target(Otlp(), {name: "http://collector:4318"})
        assert "OTEL_EXPORTER_OTLP_INSECURE" in str(caught.value)


@pytest.mark.parametrize("name", ["Authorization Bearer token", "token\x00", "", "a:token"])
def test_a_value_in_a_name_s_place_is_not_shown(name: str) -> None:
    """``Authorization Bearer token==`` has its first ``=`` in the token's padding."""
    with pytest.raises(ConfigError, match="no header") as caught:
        revealed({name: Secret("x")})
    assert "token" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://localhost:4318/v1/logs", "http://localhost:4318/v1/logs"),
        ("https://x/otlp/key/v1/logs?api=key", "https://x/…/v1/logs?…"),
        ("https://x/key", "https://x/…"),
        ("https://me:key@x:1/", "https://x:1/"),
        ("/key?key", "/…?…"),
        ("http://[key", "…"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_key(url: str, text: str) -> None:
    """Receivers' own paths and queries are left out of messages; where it goes is not."""
    assert shown(url) == text


def test_a_plain_text_header_becomes_a_secret() -> None:
    """In Python one may forget to write ``Secret(…)``; it is none the less never shown."""
    spec = Otlp(headers={"Authorization": "Bearer token"})  # type: ignore[dict-item]
    assert "token" not in repr(spec)
    assert revealed(settled(spec).headers) == {"Authorization": "Bearer token"}
    assert spec == Otlp(headers={"Authorization": Secret("Bearer token")})


@pytest.mark.parametrize("protocol", ["", "http/protobuf"])
def test_our_protocol_may_be_said(protocol: str) -> None:
    """The protocol that Tapio speaks is no error."""
    assert settled(PROTOCOL=protocol).url


def test_a_spec_with_an_endpoint_does_not_mind_the_protocol_of_others() -> None:
    """The variable is about the endpoint that the environment gives."""
    assert settled(Otlp("http://localhost:4318"), PROTOCOL="grpc").url


@pytest.mark.parametrize("endpoint", ["http://10.0.0.1:4318", "http://collector:4318"])
def test_plain_text_leaves_this_machine_only_when_said(endpoint: str) -> None:
    """In the spec it is an error at once; ``insecure`` and its variable allow it."""
    with pytest.raises(ValueError, match="insecure: true"):
        Otlp(endpoint)
    assert settled(Otlp(endpoint, insecure=True)).url == f"{endpoint}/v1/logs"
    assert settled(ENDPOINT=endpoint, INSECURE="true").url == f"{endpoint}/v1/logs"


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_this_machine_needs_no_tls(host: str) -> None:
    """Names and addresses of loopback."""
    assert settled(Otlp(f"http://{host}:4318")).loopback


@pytest.mark.parametrize("host", ["localhost.example", "128.0.0.1", "[::2]", "notlocalhost"])
def test_other_machines_are_not_taken_for_this(host: str) -> None:
    """Names that only look like it."""
    assert not settled(Otlp(f"https://{host}")).loopback
