"""Where OTLP goes and how: the spec's own fields, else the standard variables, else defaults.

The variables are those of the OpenTelemetry specification, "OTLP Exporter Configuration": one
with ``LOGS_`` wins over the one without, and an empty one counts as not set.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args
from urllib.parse import unquote, urlsplit

from tapio.model.errors import ConfigError
from tapio.model.secret import Secret

if TYPE_CHECKING:
    from tapio.sinks.otlp import Otlp

Compression: TypeAlias = Literal["auto", "zstd", "gzip", "none"]

PATH = "/v1/logs"
DEFAULT = "http://localhost:4318"
TIMEOUT_S = 10.0
"""The specification's default."""

_PREFIX = "OTEL_EXPORTER_OTLP_"


@dataclass(frozen=True, slots=True)
class Target:
    """All that is settled before anything is sent."""

    url: str
    headers: Mapping[str, Secret]
    compression: Compression
    timeout_s: float
    ca_file: str
    cert_file: str
    key_file: str
    verify: bool

    @property
    def host(self) -> str:
        """Host and port, as errors name them."""
        return urlsplit(self.url).netloc

    @property
    def loopback(self) -> bool:
        """Whether it never leaves this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")


def target(spec: Otlp, environ: Mapping[str, str]) -> Target:
    """What ``spec`` and ``environ`` say together. Raises ConfigError."""
    said = _Variables(environ)
    made = Target(
        url=whole(spec.endpoint) if spec.endpoint else said.url(),
        headers=spec.headers or said.headers(),
        compression=spec.compression or said.compression(),
        timeout_s=spec.timeout_s or said.timeout_s(),
        ca_file=spec.tls.ca_file or said["CERTIFICATE"],
        cert_file=spec.tls.cert_file or said["CLIENT_CERTIFICATE"],
        key_file=spec.tls.key_file or said["CLIENT_KEY"],
        verify=not spec.tls.insecure_skip_verify,
    )
    insecure = spec.insecure or said["INSECURE"].lower() == "true"
    if fault := url_fault(made.url, insecure=insecure):
        raise ConfigError(fault, path="endpoint")
    if bool(made.cert_file) != bool(made.key_file):
        raise ConfigError("a client certificate needs cert_file and key_file", path="tls")
    return made


def whole(endpoint: str) -> str:
    """The URL for logs: ``endpoint`` with /v1/logs, unless it ends so already."""
    bare = endpoint.rstrip("/")
    return bare if bare.endswith(PATH) else bare + PATH


def url_fault(url: str, *, insecure: bool) -> str:
    """Why nothing may be sent to ``url``, and what to do; empty where it may."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        return f"not a URL ({error}); write it like {DEFAULT}"
    if parts.scheme not in ("http", "https") or not host:
        return f"not an http:// or https:// URL; write it like {DEFAULT}"
    if "@" in parts.netloc:
        return "credentials do not belong in a URL; put them into headers"
    if parts.scheme == "http" and not insecure and not is_loopback(host):
        return (
            f"{host} is another machine and http:// is not encrypted; "
            "use https://, or say insecure: true"
        )
    return ""


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class _Variables:
    """The standard variables, without what their names share."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        own = self._environ.get(f"{_PREFIX}LOGS_{name}", "").strip()
        return own or self._environ.get(_PREFIX + name, "").strip()

    def url(self) -> str:
        """An endpoint for logs is used as it is; one for all is a base URL."""
        if (protocol := self["PROTOCOL"]) not in ("", "http/protobuf"):
            raise ConfigError(
                f"{_PREFIX}PROTOCOL is {protocol!r}, and Tapio sends http/protobuf: set that, "
                "and the endpoint of OTLP over HTTP (port 4318)"
            )
        own = self._environ.get(f"{_PREFIX}LOGS_ENDPOINT", "").strip()
        base = self._environ.get(f"{_PREFIX}ENDPOINT", "").strip() or DEFAULT
        return own or base.rstrip("/") + PATH

    def headers(self) -> dict[str, Secret]:
        """``name=value,name=value``, both percent-encoded."""
        headers = {}
        for pair in filter(None, (p.strip() for p in self["HEADERS"].split(","))):
            name, equals, value = pair.partition("=")
            if not equals or not name.strip():
                raise ConfigError(f"{_PREFIX}HEADERS is not a list of name=value pairs")
            headers[unquote(name.strip())] = Secret(unquote(value.strip()))
        return headers

    def compression(self) -> Compression:
        """``auto`` where it is not set."""
        known: dict[str, Compression] = {c: c for c in get_args(Compression)}
        if (name := self["COMPRESSION"] or "auto") not in known:
            raise ConfigError(f"{_PREFIX}COMPRESSION is {name!r}; use one of {', '.join(known)}")
        return known[name]

    def timeout_s(self) -> float:
        """The variable counts milliseconds."""
        text = self["TIMEOUT"]
        if text and not (text.isascii() and text.isdecimal() and int(text)):
            raise ConfigError(f"{_PREFIX}TIMEOUT is {text!r}; use whole milliseconds above 0")
        return int(text) / 1000 if text else TIMEOUT_S
