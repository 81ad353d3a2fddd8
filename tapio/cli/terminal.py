"""What the terminal can show: its encoding, its width, and text that cannot command it."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from collections.abc import Mapping
from typing import TextIO

COERCED = ("c.utf-8", "c.utf8", "utf-8")
"""What Python itself writes into LC_CTYPE where LANG=C (PEP 538)."""

_COMMANDS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: escape sequences begin with these
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # turn or break the line
    "\ud800-\udfff]"  # halves of a pair, which cannot be written
)


def escaped(text: str) -> str:
    """``text`` on one line; what could command a terminal is written as its code."""
    return _COMMANDS.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def unicode(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the locale is one of UTF-8.

    Python writes UTF-8 under LANG=C too, which a terminal of that locale does not show; so
    the environment is asked, and an LC_CTYPE that Python itself has set there is no answer.
    """
    if environ.get("LC_ALL"):
        return "utf" in environ["LC_ALL"].lower()
    said, lang = environ.get("LC_CTYPE", ""), environ.get("LANG", "")
    if said and not (said.lower() in COERCED and lang in ("", "C", "POSIX")):
        return "utf" in said.lower()
    return "utf" in lang.lower()


def prepare() -> None:
    """Let stdout and stderr take any text: ASCII with escapes where the locale has no UTF-8."""
    encoding = None if unicode() else "ascii"
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: tapio >&-
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def finish(stream: TextIO) -> bool:
    """Flush ``stream``; False where its reader has gone, and then nothing more is written."""
    try:
        stream.flush()
    except (OSError, ValueError):
        silence(stream)
        return False
    return True


def silence(stream: TextIO) -> None:
    """Lead what is still in the buffer of ``stream`` nowhere, so that the exit stays quiet."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return


def interactive(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that can be drawn on."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return max(20, shutil.get_terminal_size((80, 24)).columns)
