"""The outermost boundary: every error becomes a sentence and an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tapio.cli.terminal import escaped, silence
from tapio.home import expanded
from tapio.model.errors import ConfigError, TapioError

OK, FAILED, USAGE, NO_PRIVILEGE, CONFIG, INTERRUPTED = 0, 1, 2, 77, 78, 130
"""Exit codes; 77 and 78 are EX_NOPERM and EX_CONFIG of sysexits.h, 130 is 128 + SIGINT."""

MAX_LOG = 1 << 20
"""Bytes at which the file of tracebacks is begun anew."""


class NoPrivilegeError(TapioError):
    """No source can be opened without more privilege; the sentence says which."""


class UsageError(TapioError):
    """The command line asks for what there is not; the sentence says what there is."""


class Boundary:
    """``with Boundary() as boundary``: what is raised inside is told; then ``code`` says it.

    Errors of Tapio and of the operating system are one sentence each. Any other is a bug: one
    sentence too, and the traceback goes to a file that the sentence names (with ``debug``, to
    stderr).
    """

    codes: ClassVar[dict[type[BaseException], int]] = {
        ConfigError: CONFIG,
        NoPrivilegeError: NO_PRIVILEGE,
        UsageError: USAGE,
        KeyboardInterrupt: INTERRUPTED,
        BrokenPipeError: OK,
    }

    def __init__(self, *, debug: bool = False) -> None:
        self.code = OK
        self._debug = debug

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None or isinstance(error, SystemExit):
            return False
        leaves = list(_leaves(error))
        self.code = max(self._code(leaf) for leaf in leaves)
        for sentence in dict.fromkeys(map(_sentence, leaves)):
            if sentence:
                say(sentence)
        unforeseen = [leaf for leaf in leaves if not _foreseen(leaf)]
        if self._debug:
            traceback.print_exception(error)
        elif unforeseen:
            say(f"this is a bug in Tapio or in a stage; the traceback is {_kept(error)}")
        return True

    def _code(self, leaf: BaseException) -> int:
        return next((c for k, c in self.codes.items() if isinstance(leaf, k)), FAILED)


def say(text: str) -> None:
    """``text`` on stderr, each line of it safe; nothing where nobody reads that."""
    try:
        for line in text.splitlines():
            print(f"tapio: {escaped(line)}", file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _foreseen(leaf: BaseException) -> bool:
    return isinstance(leaf, TapioError | OSError | KeyboardInterrupt)


def _sentence(leaf: BaseException) -> str:
    if isinstance(leaf, KeyboardInterrupt | BrokenPipeError):
        return ""
    if isinstance(leaf, TapioError):
        return str(leaf)
    if isinstance(leaf, OSError) and leaf.strerror:
        return f"{leaf.filename}: {leaf.strerror}" if leaf.filename else leaf.strerror
    return f"{type(leaf).__name__}: {leaf}"


def _kept(error: BaseException) -> str:
    """Write the traceback to a file of the user's; where it is, in words."""
    text = "".join(traceback.format_exception(error))
    home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    for name in (f"{home}/tapio", tempfile.gettempdir()):
        try:
            path = expanded(name) / f"tapio-{os.getuid()}-errors.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            _append(path, f"{datetime.now(UTC).isoformat()} {' '.join(sys.argv)}\n{text}\n")
        except (ConfigError, OSError):
            continue
        return f"in {path}"
    return "shown with --debug"


def _append(path: Path, text: str) -> None:
    """Append to a private file that is never a link of somebody else's, and never grows large."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "a", encoding="utf-8", errors="replace") as file:
        if os.fstat(file.fileno()).st_size > MAX_LOG:
            file.truncate(0)
        file.write(text)
