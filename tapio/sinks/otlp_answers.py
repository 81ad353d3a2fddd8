"""A receiver's answer, or why there was none → what Write raises (rules 11 and 12).

Only an answer about the data (400, 422) rejects rows; all else is the endpoint's fault, and
rows are held. Each sentence says what to do.
"""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from tapio.codec.otlp.reply import Partial, partial_success, status_message
from tapio.model.errors import DecodeError, DeliveryError, PartlyRejected, Rejected, Retryable
from tapio.sinks.otlp_target import Target, shown

MAX_WAIT_S = 3600.0
"""The longest Retry-After that is obeyed; beyond, a receiver's clock or unit is wrong."""

_SHOWN = 200
"""Characters of a receiver's own words in a sentence of ours."""

_TODO = {
    401: "refuses our credentials; look at headers (OTEL_EXPORTER_OTLP_HEADERS)",
    403: "forbids it to these credentials; look at headers and at their rights there",
    404: "has no OTLP receiver at this path; look at the path of the endpoint",
    405: "takes no POST at this path; look at the path of the endpoint",
    407: "is behind a proxy that wants credentials; use another way to it",
    415: "does not take this compression; set compression: none",
    429: "is asked too much; it is asked again later",
    503: "is not available now; it is asked again later",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, the headers that matter, and at most 64 KiB of the body."""

    status: int
    content_type: str
    retry_after: str
    location: str
    body: bytes


def accepted(answer: Answer) -> Partial:
    """What a 2xx answer says of the records.

    Raises Retryable where it is not an OTLP receiver that answers: rows would vanish there.
    """
    if answer.content_type == "text/html":
        raise Retryable("a web page answers instead of an OTLP receiver; look at the endpoint")
    try:
        if answer.content_type == "application/json":
            said = json.loads(answer.body or b"{}").get("partialSuccess") or {}
            return Partial(int(said.get("rejectedLogRecords", 0)), said.get("errorMessage", ""))
        return partial_success(answer.body)
    except (DecodeError, ValueError, TypeError, AttributeError):
        return Partial(0, "")  # it said 2xx: it has the records, whatever it added


def refusal(partial: Partial) -> PartlyRejected:
    """Some records were refused; OTLP does not say which."""
    said = _quoted(partial.message)
    return PartlyRejected(
        f"the receiver refused {partial.rejected} records{said}", count=partial.rejected
    )


def failure(answer: Answer, url: str, now_s: float) -> DeliveryError:
    """The error for an answer that is no 2xx, at wall clock ``now_s`` (seconds since 1970)."""
    status, words = answer.status, _words(answer)
    said = f"{url} answers {status}{_quoted(words)}"
    if status == 413:
        return Retryable(said, too_large=True)
    if status == 400 and "https server" in words.lower():
        return Retryable(f"{said}: it wants TLS; use https://")
    if status in (400, 422):
        return Rejected(said)
    if 300 <= status < 400:
        moved = shown(answer.location)
        return Retryable(f"{said}: it has moved to {moved!r}; set the endpoint so")
    todo = _TODO.get(status, "look at the receiver's own log")
    return Retryable(f"{said}: it {todo}", after_s=after_s(answer.retry_after, now_s))


def after_s(text: str, now_s: float) -> float | None:
    """Seconds that a ``Retry-After`` asks for (RFC 9110, 10.2.3: seconds, or a date)."""
    if text.isascii() and text.isdecimal():
        return min(float(text), MAX_WAIT_S)
    try:
        date = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, date - now_s), MAX_WAIT_S)


def no_answer(error: Exception, target: Target) -> Retryable:
    """The error for a request that was never answered."""
    return Retryable(f"{target.shown}: {_reason(error, target)}")


def _reason(error: Exception, target: Target) -> str:
    import aiohttp

    cause: Any = error.__cause__ or error
    if isinstance(error, TimeoutError):
        return f"no answer within {target.timeout_s:g} s; look at the receiver, or raise timeout_s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _certificate(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host has no address; look at the name, or at DNS"
    for one in (cause, error):
        if isinstance(one, ssl.SSLError):
            return _tls(one)
    if isinstance(error, aiohttp.ClientConnectorError):
        what = error.os_error.strerror or error.os_error
        return f"no connection ({what}); start the receiver, or look at host and port"
    if isinstance(error, aiohttp.ClientResponseError):
        return "it does not speak HTTP/1; OTLP over HTTP has port 4318, 4317 is gRPC"
    broke = f"the connection broke ({_shown(str(error) or type(error).__name__)})"
    if not target.url.startswith("https"):
        return broke
    # TLS 1.3 refuses a client only after its handshake, often with nothing but a reset
    wanted = "accepts" if target.cert_file else "asks for"
    return f"{broke}; where that comes at once, see whether it {wanted} tls.cert_file"


def _certificate(error: Exception) -> str:
    """OpenSSL's verify codes (x509_vfy.h): 9, 10 time; 18 to 21 issuer; 62 to 64 name."""
    code = getattr(error, "verify_code", 0)
    if code == 10:
        return "its certificate has expired; have it renewed"
    if code == 9:
        return "its certificate is not valid yet; look at the clocks of both machines"
    if code in (18, 19, 20, 21):
        return (
            "its certificate is signed by nobody known here; set tls.ca_file "
            "(OTEL_EXPORTER_OTLP_CERTIFICATE) to the CA's certificate"
        )
    if code in (62, 63, 64):
        return "its certificate is for another name; look at the host of the endpoint"
    return f"its certificate is not accepted ({getattr(error, 'verify_message', '') or error})"


def _tls(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return (
            "it asks for a client certificate that it accepts; set tls.cert_file and tls.key_file"
        )
    if "UNKNOWN_CA" in reason or "BAD_CERTIFICATE" in reason or "CERTIFICATE_EXPIRED" in reason:
        return "it does not accept our client certificate; look at tls.cert_file"
    if "WRONG_VERSION_NUMBER" in reason or "HTTP_REQUEST" in reason:
        return "it does not speak TLS on this port; use http://, or another port"
    return f"TLS failed ({_shown(reason or str(error))})"


def _words(answer: Answer) -> str:
    """What the receiver said, as far as it is text."""
    if answer.content_type == "application/x-protobuf":
        try:
            return status_message(answer.body)
        except DecodeError:
            return ""
    if answer.content_type == "application/json":
        try:
            return str(json.loads(answer.body)["message"])
        except (ValueError, TypeError, KeyError):
            pass
    if answer.content_type.startswith("text/html"):
        return ""
    return answer.body.decode(errors="replace")


def _shown(words: str) -> str:
    """One line of at most 200 printable characters."""
    line = re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in words)).strip()
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "…"


def _quoted(words: str) -> str:
    shown = _shown(words)
    return f" ({shown})" if shown else ""
