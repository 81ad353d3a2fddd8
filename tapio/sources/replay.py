"""Arrow stream files, as rows that flow once more: what the file sink wrote, or anybody else."""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from glob import glob
from itertools import islice
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import msgspec
import numpy as np

from tapio.codec.arrow import Decoder
from tapio.home import expanded
from tapio.model.batch import Batch
from tapio.model.errors import ConfigError, DecodeError, EndOfStream
from tapio.model.policy import Seconds
from tapio.model.schema import SEQ
from tapio.model.stage import Context, Delivery, Read, Source
from tapio.model.ticket import Outcome, Ticket

CHUNK = 16
"""Batches decoded a hop to the thread: a hop costs about 50 µs."""

PAUSE_S = 0.5
"""Before rows are delivered once more: who gave them back should not get them at once."""


LOOK_S = 0.05
"""How often it is looked whether all rows have settled, at the end: the engine's own tick."""


class Replay(Source, frozen=True, tag="replay"):
    """Delivers the rows of Arrow stream files.

    ``path`` is a file, a folder (its ``*.arrows``), a pattern (``**`` too), or a list of
    these. Files of one topic follow each other by name; topics are merged by time.
    ``topic`` is for files whose metadata names none. ``speed`` 0 is as fast as the rows are
    taken, 1 the recorded pace, 10 ten times that; no gap lasts longer than ``max_gap_s``.

    Times are as recorded; sequence numbers are new, since these are new rows of this process.
    Rows that come back (RETRY) are delivered again after the rest, and the end is only
    reported once all have settled. A damaged file gives what stands before the damage; when
    all else is delivered the read raises a DecodeError with its name and offset.
    """

    replayable: ClassVar[bool] = True

    path: str | tuple[str, ...]
    topic: str = ""
    speed: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    max_gap_s: Seconds = 60.0

    def open(self, cx: Context) -> AbstractAsyncContextManager[Read]:
        """Look at all files; ConfigError where one is missing or names no topic."""
        return _opened(self, cx)


class Piece(NamedTuple):
    """A batch, and where it can be found again."""

    batch: Batch
    path: Path
    ordinal: int

    @property
    def time_ns(self) -> int:
        """When its first row was recorded."""
        return int(self.batch["time_ns"][0])


Wanted = Mapping[Path, set[int]]
"""The ordinals of the batches that are wanted of each file; no mapping wants all."""


class Recording:
    """Files by topic, in order. ``faults`` holds a DecodeError for each damaged file."""

    def __init__(self, spec: Replay) -> None:
        self._topic = spec.topic
        self._tracks: dict[str, list[Path]] = {}
        self.faults: dict[Path, DecodeError] = {}
        for path in found((spec.path,) if isinstance(spec.path, str) else spec.path):
            self._add(path)

    def _add(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                topic = Decoder(file.read).topic or self._topic
        except DecodeError as error:
            self._damaged(path, error)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}", path="path") from error
        else:
            if not topic:
                raise ConfigError(f"{path} names no topic: say which it is", path="topic")
            self._tracks.setdefault(topic, []).append(path)

    def pieces(self, wanted: Wanted | None = None) -> Iterator[Piece]:
        """All that is whole, topics merged by time; or only what is ``wanted``."""
        tracks = [self._track(t, paths, wanted) for t, paths in self._tracks.items()]
        return heapq.merge(*tracks, key=lambda piece: piece.time_ns)

    def _track(self, topic: str, paths: list[Path], wanted: Wanted | None) -> Iterator[Piece]:
        for path in paths:
            if wanted is not None and path not in wanted:
                continue
            try:
                with path.open("rb") as file:
                    for ordinal, batch in enumerate(Decoder(file.read, topic=topic)):
                        if batch.rows and (wanted is None or ordinal in wanted[path]):
                            yield Piece(batch, path, ordinal)
            except DecodeError as error:
                self._damaged(path, error)
            except OSError as error:
                self._damaged(path, DecodeError(f"cannot be read: {error.strerror}"))

    def _damaged(self, path: Path, error: DecodeError) -> None:
        self.faults[path] = DecodeError(f"{path}: {error.reason}", offset=error.offset)


def found(paths: tuple[str, ...]) -> list[Path]:
    """The files that ``paths`` mean, each once. ConfigError where one means none."""
    files: dict[Path, None] = {}
    for said in paths:
        path = expanded(said, path="path")
        if path.is_dir():
            some = sorted(path.glob("*.arrows"))
        elif path.exists():
            some = [path]
        else:
            some = [Path(p) for p in sorted(glob(str(path), recursive=True))]  # noqa: PTH207
        if not some:
            raise ConfigError(f"{said}: there is no Arrow stream file", path="path")
        files |= dict.fromkeys(p for p in some if not p.is_dir())
    return list(files)


@asynccontextmanager
async def _opened(spec: Replay, cx: Context) -> AsyncIterator[Read]:
    """One thread reads and decodes."""
    with ThreadPoolExecutor(1, "tapio-replay") as thread:
        work = partial(asyncio.get_running_loop().run_in_executor, thread)
        player = Player(await work(Recording, spec), spec, cx, thread)
        try:
            yield player.read
        finally:
            thread.submit(player.close)


class Player:
    """Delivers what a recording holds, at its pace, until every row has settled DONE."""

    def __init__(
        self, recording: Recording, spec: Replay, cx: Context, thread: ThreadPoolExecutor
    ) -> None:
        self._recording = recording
        self._cx = cx
        self._thread = thread
        self._pace = Pace(spec.speed, spec.max_gap_s)
        self._pieces = recording.pieces()
        self._ahead: asyncio.Future[list[Piece]] | None = None
        self._ready: deque[Piece] = deque()
        self._out = 0
        self._again: defaultdict[Path, set[int]] = defaultdict(set)

    async def read(self) -> Delivery:
        """The next batch; EndOfStream at a stop, or when all rows have settled."""
        while not self._cx.stopping.is_set():
            if self._ready:
                wait = self._pace.wait_s(self._ready[0].time_ns, self._cx.clock.monotonic())
                if wait <= 0 or not await self._pause(wait):
                    return self._deliver(self._ready.popleft())
            elif not await self._decode():
                await self._rewind()
        raise EndOfStream

    def close(self) -> None:
        """Close the files; in the thread, behind what it still decodes."""
        self._pieces = iter(())

    async def _decode(self) -> bool:
        """Have some batches ready; False at the end. Cancelled, it is gone on with later."""
        if self._ahead is None:
            loop = asyncio.get_running_loop()
            self._ahead = loop.run_in_executor(self._thread, self._some)
        if not self._ahead.done():
            await asyncio.wait([self._ahead])
        done, self._ahead = self._ahead, None
        self._ready.extend(done.result())
        return bool(self._ready)

    def _some(self) -> list[Piece]:
        return list(islice(self._pieces, CHUNK))

    def _deliver(self, piece: Piece) -> Delivery:
        batch = piece.batch
        first = self._cx.sequences.take(batch.topic, batch.rows)
        numbers = np.arange(first, first + batch.rows, dtype=np.uint64)
        self._out += 1
        ticket = Ticket(partial(self._settle, piece.path, piece.ordinal))
        return Delivery(batch.with_columns({SEQ: numbers}), ticket)

    def _settle(self, path: Path, ordinal: int, outcome: Outcome) -> None:
        self._out -= 1
        if outcome is Outcome.RETRY:
            self._again[path].add(ordinal)

    async def _rewind(self) -> None:
        """Begin again with what came back, or wait for it. Raises the end when none is out."""
        if self._again and not await self._pause(PAUSE_S):
            self._pieces = self._recording.pieces(self._again)
            self._again = defaultdict(set)
        elif self._out:
            await self._pause(LOOK_S)
        elif not self._again:
            raise _end(list(self._recording.faults.values()))

    async def _pause(self, seconds: float) -> bool:
        """Wait; True if a stop was asked for meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._cx.stopping.wait()
        except TimeoutError:
            return False
        return True


class Pace:
    """When a row is due that was recorded at some time, the first one being due at once."""

    def __init__(self, speed: float, max_gap_s: float) -> None:
        self._speed = speed
        self._max_gap_s = max_gap_s
        self._start: tuple[float, int] | None = None

    def wait_s(self, time_ns: int, now: float) -> float:
        """Seconds to wait at ``now``; a gap of years, or a clock set back, is cut short."""
        if not self._speed:
            return 0.0
        began, recorded = self._start = self._start or (now, time_ns)
        wait = began + (time_ns - recorded) / 1e9 / self._speed - now
        if wait > self._max_gap_s:
            self._start = (now + self._max_gap_s, time_ns)
        return min(wait, self._max_gap_s)


def _end(faults: list[DecodeError]) -> Exception:
    """What is raised at the end: the first fault, saying how many there are, if any."""
    if not faults:
        return EndOfStream()
    more = f"; {len(faults) - 1} more files are damaged" if len(faults) > 1 else ""
    reason = f"{faults[0].reason}: what stands before it was delivered{more}"
    return DecodeError(reason, offset=faults[0].offset)
