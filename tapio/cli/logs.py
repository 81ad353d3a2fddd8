"""Logs of the command: JSON lines for machines, plain lines for a terminal, on stderr.

A message that repeats is shown ``BURST`` times in ``WINDOW_S``; how many more there were is
said with the next one. Only the command calls ``install``: a library leaves logging alone.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tapio.cli.terminal import escaped

BURST = 5
WINDOW_S = 60.0
MAX_KINDS = 1_000
"""Kinds of message that are counted at a time; the oldest is forgotten."""

LEVELS = ("debug", "info", "warning", "error")
_SAID_BY_ALL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName", "asctime"}
_SHORT = {"WARNING": "WARN", "CRITICAL": "FATAL"}


class Repeats:
    """Says which messages to show, by their kind: logger, level and unfilled text."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, int, str], tuple[float, int]] = {}

    def admit(self, kind: tuple[str, int, str], now: float) -> int | None:
        """How many of ``kind`` were left out before this one; None: leave this one out too."""
        since, seen = self._kinds.pop(kind, (now, 0))
        left_out = 0
        if now - since >= WINDOW_S:
            left_out = max(0, seen - BURST)
            since, seen = now, 0
        self._kinds[kind] = (since, seen + 1)
        if len(self._kinds) > MAX_KINDS:
            del self._kinds[next(iter(self._kinds))]
        return left_out if seen < BURST else None

    def rest(self) -> Iterator[tuple[tuple[str, int, str], int]]:
        """The kinds of which some are still untold, and how many; they are then told."""
        kinds, self._kinds = self._kinds, {}
        for kind, (_, seen) in kinds.items():
            if seen > BURST:
                yield kind, seen - BURST


class Human(logging.Formatter):
    """``06:04:41 WARN  otlp: the message  key=value``; control characters are escaped."""

    def __init__(self, traceback: bool = False) -> None:
        super().__init__()
        self._traceback = traceback

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where that was asked for."""
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = _SHORT.get(record.levelname, record.levelname)
        name = record.name.removeprefix("tapio").removeprefix(".")
        said = "".join(f"  {k}={v}" for k, v in _extras(record).items())
        text = f"{name}: {record.getMessage()}" if name else record.getMessage()
        line = f"{at} {level:<5} {escaped(text + _reason(record) + said)}"
        if self._traceback and record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class Json(logging.Formatter):
    """One JSON object a line: time, severity, logger, message, error, and what ``extra`` holds."""

    def __init__(self, traceback: bool = False) -> None:
        super().__init__()
        self._traceback = traceback

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said: dict[str, Any] = {
            "time": at.replace("+00:00", "Z"),
            "severity": _SHORT.get(record.levelname, record.levelname),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            said["error"] = {"type": type(error).__name__, "message": str(error)}
            if self._traceback:
                said["error"]["traceback"] = self.formatException(record.exc_info)
        return json.dumps(_extras(record) | said, default=str)


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {k: v for k, v in vars(record).items() if k not in _SAID_BY_ALL}


def _reason(record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    return "" if error is None else f" ({type(error).__name__}: {error})"


class Handler(logging.Handler):
    """Writes to what ``sys.stderr`` is at the moment: the live table puts itself in its place.

    A stderr that nobody reads is no reason to fail.
    """

    def __init__(self) -> None:
        super().__init__()
        self._repeats = Repeats()

    def emit(self, record: logging.LogRecord) -> None:
        """Show ``record``, unless enough of its kind were shown."""
        kind = (record.name, record.levelno, str(record.msg))
        left_out = self._repeats.admit(kind, time.monotonic())
        if left_out is not None:
            self._write(self.format(record))
            if left_out:
                self._write(self._untold(kind, left_out))

    def close(self) -> None:
        """Tell what was left out and not told yet."""
        for kind, count in self._repeats.rest():
            self._write(self._untold(kind, count))
        super().close()

    def _untold(self, kind: tuple[str, int, str], count: int) -> str:
        name, level, text = kind
        said = "%d more like this were not shown: %s"
        return self.format(logging.LogRecord(name, level, "", 0, said, (count, text), None))

    def _write(self, line: str) -> None:
        try:
            print(line, file=sys.stderr, flush=True)
        except (OSError, ValueError):
            return


def install(level: str = "info", form: str = "auto", *, debug: bool = False) -> Handler:
    """Send all logs to stderr: Tapio's from ``level`` on, other libraries' from warning on.

    ``form`` is ``json``, ``text``, or ``auto`` (text on a terminal). Returns the handler;
    ``remove`` takes it away again.
    """
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = Handler()
    handler.setFormatter(Human(debug) if text else Json(debug))
    logging.getLogger().addHandler(handler)
    logging.getLogger("tapio").setLevel(level.upper())
    logging.captureWarnings(True)
    return handler


def remove(handler: Handler) -> None:
    """Undo ``install``."""
    logging.captureWarnings(False)
    logging.getLogger().removeHandler(handler)
    handler.close()
