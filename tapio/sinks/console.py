"""Lines on stdout or stderr: for people, or as JSON for the next program."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, ClassVar, Literal, TextIO

import msgspec

from tapio.codec import lines
from tapio.model.batch import MAX_ROWS, Batch
from tapio.model.errors import ConfigError, EndOfStream, Retryable
from tapio.model.policy import Seconds
from tapio.model.stage import Context, Sink, Write

PIECED = 1000
"""Characters of a line where no terminal says how wide it is."""


class Prompt(Sink, frozen=True, kw_only=True):
    """A sink's defaults where small batches soon are wanted: 1,024 rows take some 3 ms."""

    max_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 1024
    max_age_s: Seconds = 0.1


class Console(Prompt, frozen=True, tag="console"):
    """Writes a line a row to ``stream``.

    ``format`` text is time, severity, topic and ``name=value``, no wider than ``width`` (0:
    the terminal, or 1,000 characters); json is one object a row, never cut. Severities are
    coloured on a terminal, unless ``NO_COLOR`` is set or ``TERM`` is dumb. What a row holds
    cannot command the terminal, and what its encoding lacks is written as a code.

    When nobody reads any more (``| head``), Write raises EndOfStream: this sink wants no
    more rows. A reader that is slow holds the rows back and blocks nothing else.
    """

    durability: ClassVar[str] = "best-effort"

    format: Literal["text", "json"] = "text"
    stream: Literal["stdout", "stderr"] = "stdout"
    width: Annotated[int, msgspec.Meta(ge=0)] = 0

    def open(self, cx: Context) -> AbstractAsyncContextManager[Write]:
        """Take the stream as it is now; ConfigError where it is closed."""
        return _opened(self)


@asynccontextmanager
async def _opened(spec: Console) -> AsyncIterator[Write]:
    stream: TextIO | None = getattr(sys, spec.stream)
    if stream is None:
        raise ConfigError(f"{spec.stream} is closed: open it or leave the console out")
    render = _renderer(spec, stream)
    outlet = Outlet(stream)
    try:

        async def write(batch: Batch) -> None:
            await outlet.write(render(batch))

        yield write
    finally:
        outlet.close()


def _renderer(spec: Console, stream: TextIO) -> Callable[[Batch], bytes]:
    """What makes bytes of a batch for this stream."""
    ascii = (stream.encoding or "utf-8").lower().replace("-", "") != "utf8"
    if spec.format == "json":
        return lambda batch: lines.ndjson(batch, ascii=ascii)
    colour = coloured(stream)

    def text(batch: Batch) -> bytes:
        return lines.text(batch, width=spec.width or columns(stream), colour=colour, ascii=ascii)

    return text


def coloured(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``stream`` is a terminal that is to have colours (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def columns(stream: TextIO) -> int:
    """The terminal's width now; it may have been changed."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or PIECED
    except OSError:  # no terminal, or no file at all
        return PIECED


class Outlet:
    """A stream that is written to without blocking the loop, one batch at a time.

    A pipe or a terminal is opened once more, non-blocking: the flag belongs to the open file,
    and the one that we were given is the shell's as well. What is no file takes text.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._turn = asyncio.Lock()
        stream.flush()
        self._ends = {errno.EPIPE, errno.ECONNRESET}
        if stream.isatty():
            self._ends.add(errno.EIO)  # a terminal that was hung up
        try:
            self._fd = _reopened(stream.fileno())
        except OSError:  # io.UnsupportedOperation: a stream without a file
            self._fd = -1

    async def write(self, data: bytes) -> None:
        """All of ``data``. Raises EndOfStream where nobody reads any more, and Retryable."""
        async with self._turn:
            try:
                await self._write(memoryview(data))
            except OSError as error:
                if error.errno in self._ends:
                    raise EndOfStream from error
                raise Retryable(f"cannot write to {self._stream.name}: {error.strerror}") from error

    async def _write(self, data: memoryview) -> None:
        if self._fd < 0:
            self._stream.write(bytes(data).decode())
            self._stream.flush()
            return
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                await self._room()

    async def _room(self) -> None:
        """Return when the stream takes more."""
        loop = asyncio.get_running_loop()
        free = asyncio.Event()
        loop.add_writer(self._fd, free.set)
        try:
            await free.wait()
        finally:
            loop.remove_writer(self._fd)

    def close(self) -> None:
        """Let go of our own open file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _reopened(fd: int) -> int:
    """A descriptor of our own: non-blocking where ``fd`` is a pipe or a terminal."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or os.isatty(fd):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            return os.open(f"/proc/self/fd/{fd}", flags)
        except OSError:  # another user's terminal; or a pipe whose reader has gone already
            return os.dup(fd)
    return os.dup(fd)
