"""Certificates: what a TLS connection is made with, read again when its files change."""

from __future__ import annotations

import ssl

from tapio.home import expanded
from tapio.model.errors import ConfigError
from tapio.sinks.otlp_target import Target

Stamp = tuple[int, int, int]


class Certificates:
    """The ssl context for ``target``; ``context()`` is cheap and may be called for each request."""

    def __init__(self, target: Target) -> None:
        """Read the files. Raises ConfigError where one cannot be used."""
        self._target = target
        self._files = [
            expanded(name, path="tls")
            for name in (target.ca_file, target.cert_file, target.key_file)
            if name
        ]
        self._stamps = self._look()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """As the files are now; while they cannot be used (half written), as they were."""
        try:
            stamps = self._look()
            if stamps != self._stamps:
                self._context = self._load()
                self._stamps = stamps
        except ConfigError:
            pass
        return self._context

    def _look(self) -> list[Stamp]:
        try:
            stats = [path.stat() for path in self._files]
        except OSError as error:
            raise ConfigError(
                f"cannot read {error.filename}: {error.strerror}", path="tls"
            ) from error
        return [(s.st_ino, s.st_mtime_ns, s.st_size) for s in stats]

    def _load(self) -> ssl.SSLContext:
        target = self._target
        name = target.ca_file
        try:
            context = ssl.create_default_context(cafile=_path(target.ca_file))
            name = target.cert_file
            if target.cert_file:
                context.load_cert_chain(_path(target.cert_file) or "", _path(target.key_file))
        except (OSError, ValueError) as error:
            said = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise ConfigError(
                f"{name} holds no certificate that can be used: {said}", path="tls"
            ) from error
        if not target.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _path(name: str) -> str | None:
    return str(expanded(name)) if name else None
