"""Arrow stream files for ``show`` and ``convert``: which there are, and their whole batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path

import pyarrow as pa

from tapio.cli.boundary import UsageError
from tapio.cli.rows import flat
from tapio.codec.arrow import Decoder, last_whole
from tapio.model.batch import Batch
from tapio.model.errors import DecodeError, TapioError
from tapio.model.schema import matches

CLOSED, OPEN = ".arrows", ".part"
"""Suffixes of a file that is complete, and of one that is still written."""

DEAD_LETTERS = "dead-letters"
"""Below a folder this one is left out: its rows were delivered nowhere. Name it to see them."""

NAMELESS = "rows"
"""The topic of a file of somebody else's, which names none."""


class CorruptError(TapioError):
    """Some files are damaged; what was whole in them has been used."""


def found(names: Sequence[str], *, unfinished: bool = True) -> list[Path]:
    """The files that ``names`` mean; a folder means the Arrow files below it, by name.

    ``unfinished`` says whether a folder's files that are still written count. Raises
    UsageError where a name means nothing.
    """
    files: list[Path] = []
    for name in names:
        path = Path(name)
        if not path.exists():
            raise UsageError(f"{name}: there is no such file or folder")
        if not path.is_dir():
            files.append(path)
            continue
        below = [p for p in sorted(path.rglob("*")) if _counts(p.relative_to(path), unfinished)]
        if not below:
            wanted = f"*{CLOSED}" if not unfinished else f"*{CLOSED} or *{OPEN}"
            raise UsageError(f"{name}: there is no {wanted} file in this folder")
        files += below
    return files


def _counts(path: Path, unfinished: bool) -> bool:
    suffixes = (CLOSED, OPEN) if unfinished else (CLOSED,)
    return path.suffix in suffixes and DEAD_LETTERS not in path.parts


class Files:
    """The batches of ``paths``, one file after another, entities' attributes as columns.

    A damaged file gives what stands before the damage; ``check`` raises at the end, so that
    nothing whole is missed. ``topics`` are names as in ``when``; none means all.
    """

    def __init__(self, paths: Sequence[Path], topics: Sequence[str] = ()) -> None:
        self.paths = paths
        self.done = 0
        """Bytes read so far."""
        self._topics = topics
        self._faults: list[str] = []

    @property
    def size(self) -> int:
        """Bytes there are to read."""
        return sum(path.stat().st_size for path in self.paths)

    def __iter__(self) -> Iterator[Batch]:
        for path in self.paths:
            before = self.done
            with path.open("rb") as file:
                try:
                    for batch, offset in self._batches(file, path):
                        self.done = before + offset
                        yield batch
                except DecodeError as error:
                    self._faults.append(f"{path}: damaged: {error}; what stands before it was used")
            self.done = before + path.stat().st_size

    def schemas(self) -> Iterator[tuple[str, pa.Schema]]:
        """The topic and Arrow schema of each file that is wanted; damaged ones aside."""
        for path in self.paths:
            with path.open("rb") as file:
                try:
                    decoder = self._decoder(file, path)
                except DecodeError:
                    continue
            if decoder is not None:
                yield decoder.topic, decoder.schema

    def check(self) -> None:
        """Raise CorruptError where a file was damaged; one sentence a file."""
        if self._faults:
            raise CorruptError("\n".join(self._faults))

    def _batches(self, file: BufferedReader, path: Path) -> Iterator[tuple[Batch, int]]:
        """(batch, bytes read) of one file, if its topic is wanted."""
        decoder = self._decoder(file, path)
        if decoder is not None:
            for batch in decoder:
                yield flat(batch), decoder.offset

    def _decoder(self, file: BufferedReader, path: Path) -> Decoder | None:
        """What decodes ``file``; None where its topic is not wanted. Raises DecodeError."""
        fetch: Callable[[int], bytes] = file.read
        if path.suffix == OPEN:  # its last message may be half written
            end = last_whole(file.read).bytes
            file.seek(0)
            fetch = _until(file, end)
        decoder = Decoder(fetch)
        if not decoder.topic:
            decoder.topic = NAMELESS
        wanted = not self._topics or matches(decoder.topic, self._topics)
        return decoder if wanted else None


def _until(file: BufferedReader, end: int) -> Callable[[int], bytes]:
    """``file.read``, as if the file ended at ``end``."""
    return lambda length: file.read(max(0, min(length, end - file.tell())))
