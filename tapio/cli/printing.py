"""Rows on stdout: a table, JSON lines, or CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from typing import TextIO, TypeAlias

from tapio.cli.boundary import UsageError
from tapio.cli.rows import moments, severity, texts
from tapio.cli.terminal import unicode, width
from tapio.codec import lines
from tapio.model.batch import Batch

Print: TypeAlias = Callable[[Batch], None]

LOOK_AHEAD = 200
"""Rows that a table's widths are taken from; later ones may stand out of line."""

WIDEST = 40
"""Columns that are wider than this are not padded to one width, or a single argv fills a page."""

TITLES = {"time_ns": "time"}
SEVERITY_TEXTS = [severity(number) for number in range(256)]


def printer(form: str, out: TextIO, columns: Sequence[str]) -> Print:
    """What prints batches in that form; of the columns named, or of all."""
    if form == "json":
        return JsonLines(out, columns).print
    return Csv(out, columns).print if form == "csv" else Grid(out, columns).print


class JsonLines:
    """One object a row, the topic first; numbers as they are, control characters escaped."""

    def __init__(self, out: TextIO, columns: Sequence[str]) -> None:
        self._out = out
        self._columns = columns
        self._ascii = not unicode()

    def print(self, batch: Batch) -> None:
        """Print each row."""
        rows = lines.ndjson(batch, columns=self._columns, ascii=self._ascii)
        self._out.write(rows.decode())


class Csv:
    """A header and one line a row (RFC 4180); control characters are escaped."""

    def __init__(self, out: TextIO, columns: Sequence[str]) -> None:
        self._writer = csv.writer(out, lineterminator="\n")
        self._chosen = bool(columns)
        self._columns = tuple(columns)
        self._topic = ""

    def print(self, batch: Batch) -> None:
        """Print each row. UsageError where the columns change and were not chosen."""
        if not self._topic:
            self._topic = batch.topic
            self._columns = self._columns or tuple(batch)
            self._writer.writerow(self._columns)
        if not self._chosen and (odd := set(batch) ^ set(self._columns)):
            raise UsageError(
                f"rows of {batch.topic} and {self._topic} differ in {', '.join(sorted(odd))}: "
                "choose with --columns or --topic"
            )
        columns = [_cells(batch, name) for name in self._columns]
        self._writer.writerows(zip(*columns, strict=True))


def _cells(batch: Batch, name: str) -> list[str]:
    return texts(batch[name]) if name in batch else [""] * batch.rows


class Grid:
    """A table with a header for each run of one topic; control characters are escaped.

    On a terminal lines are cut at its edge; in a pipe they are whole.
    """

    def __init__(self, out: TextIO, columns: Sequence[str]) -> None:
        self._out = out
        self._columns = columns
        self._edge = width() if out.isatty() else None
        self._topic = ""
        self._widths: dict[str, int] = {}

    def print(self, batch: Batch) -> None:
        """Print each row, below a header where the topic is new."""
        names = list(self._columns) or [n for n in batch if n not in ("seq", "weight")]
        columns = [self._texts(batch, name) for name in names]
        if batch.topic != self._topic or not set(names) <= self._widths.keys():
            self._begin(batch.topic, names, columns)
        widths = [self._widths[name] for name in names]
        rows = zip(*columns, strict=True)
        self._out.write("".join(self._line(widths, row) for row in rows))

    def _texts(self, batch: Batch, name: str) -> list[str]:
        if name == "time_ns":
            return moments(batch[name])
        if name == "severity":
            return [SEVERITY_TEXTS[number] for number in batch[name].tolist()]
        return _cells(batch, name)

    def _begin(self, topic: str, names: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
        titles = [TITLES.get(name, name) for name in names]
        self._widths = {
            name: min(WIDEST, max(map(len, (title, *column[:LOOK_AHEAD]))))
            for name, title, column in zip(names, titles, texts, strict=True)
        }
        if topic != self._topic:
            print(f"{chr(10) if self._topic else ''}{topic}", file=self._out)
        self._topic = topic
        self._out.write(self._line(list(self._widths.values()), titles))

    def _line(self, widths: Sequence[int], row: Sequence[str]) -> str:
        padded = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        return "  ".join(padded).rstrip()[: self._edge] + "\n"
