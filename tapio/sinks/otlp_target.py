"""Where OTLP goes and how: the spec's own fields, else the standard variables, else defaults.

The variables are those of the OpenTelemetry specification, "OTLP Exporter Configuration": one
with ``LOGS_`` wins over the one without, and an empty one counts as not set.
"""

from __future__ import annotations

import ipaddress
import re
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
_OURS = ("content-type", "content-encoding", "content-length", "host", "transfer-encoding")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: token


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
    def shown(self) -> str:
        """The URL as messages show it."""
        return shown(self.url)

    @property
    def loopback(self) -> bool:
        """Whether it never leaves this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")


def target(spec: Otlp, environ: Mapping[str, str]) -> Target:
    """What ``spec`` and ``environ`` say together. Raises ConfigError."""
    said = Variables(environ, "LOGS")
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
        raise ConfigError(fault, path="endpoint" if spec.endpoint else said.name("ENDPOINT"))
    if bool(made.cert_file) != bool(made.key_file):
        raise ConfigError("a client certificate needs cert_file and key_file", path="tls")
    return made


def whole(endpoint: str) -> str:
    """The URL for logs: ``endpoint`` with /v1/logs, unless it ends so already."""
    bare, mark, query = endpoint.partition("?")
    bare = bare.rstrip("/").removesuffix(PATH)
    return bare + PATH + mark + query


def shown(url: str) -> str:
    """``url`` without what may be a key: some receivers have theirs in the path or the query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "…"
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
    path = parts.path
    if path not in ("", "/", PATH):
        path = f"/…{PATH}" if path.endswith(PATH) else "/…"
    return where + path + ("?…" if parts.query else "")


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
            f"use https://, or say insecure: true ({_PREFIX}INSECURE)"
        )
    return ""


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def revealed(headers: Mapping[str, Secret]) -> dict[str, str]:
    """The headers as their secrets are now. Raises ConfigError, which shows none."""
    plain = {}
    for name, secret in headers.items():
        value = secret.reveal().strip()
        if not _NAME.fullmatch(name):  # not shown: a value that lost its name stands there
            raise ConfigError("a name is no header's: use letters, digits and -", path="headers")
        if name.lower() in _OURS:
            raise ConfigError(f"{name!r} is no header that may be set", path="headers")
        if not value.isprintable() or not value.isascii():
            raise ConfigError(f"the value of {name!r} is no plain text", path="headers")
        plain[name] = value
    return plain


class Variables:
    """The standard variables for one signal (``LOGS``), without what their names share."""

    def __init__(self, environ: Mapping[str, str], signal: str) -> None:
        self._environ = environ
        self._signal = signal

    def __getitem__(self, name: str) -> str:
        return self._environ.get(self.name(name), "").strip()

    def name(self, name: str) -> str:
        """The variable that counts: the signal's own where it is set."""
        own = f"{_PREFIX}{self._signal}_{name}"
        return own if self._environ.get(own, "").strip() else _PREFIX + name

    def url(self) -> str:
        """An endpoint for logs is used as it is; one for all is a base URL."""
        if (protocol := self["PROTOCOL"]) not in ("", "http/protobuf"):
            raise ConfigError(
                f"{_PREFIX}PROTOCOL is {protocol!r}, and Tapio sends http/protobuf: set that, "
                "and the endpoint of OTLP over HTTP (port 4318)"
            )
        if (name := self.name("ENDPOINT")) != f"{_PREFIX}ENDPOINT":
            return self._environ[name].strip()
        bare, mark, query = (self["ENDPOINT"] or DEFAULT).partition("?")
        return bare.rstrip("/") + PATH + mark + query

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
