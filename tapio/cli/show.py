"""``tapio show``: rows of Arrow files, filtered, for people and for pipes."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import numpy as np

from tapio.cli import where
from tapio.cli.boundary import OK, UsageError
from tapio.cli.printing import Print, printer
from tapio.cli.run import seconds
from tapio.model.batch import Batch

DETAILS = """\
FILE is an Arrow stream that `sinks.file` wrote, also one that is still open
(*.part), or a folder of them. Columns depend on the topic; `--columns` chooses.

--where compares columns: = != < <= > >= in, joined by and, or, not and brackets;
values are numbers, true, false, words, or text in quotes:
  tapio show out --where 'exit_code != 0 and comm in (bash, "my app")'
  tapio show out --where 'severity >= warn' --since 10m
  tapio show out --topic process.exec --columns time_ns,comm,argv --format csv
  tapio show out --format json | jq .comm

The table escapes control characters, so that a row cannot command the terminal;
`tapio show out | less -S` scrolls it sideways.
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "show",
        help="print rows of Arrow files, filtered",
        description="Print rows of Arrow stream files.",
        epilog=DETAILS,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="an Arrow stream, or a folder")
    parser.add_argument(
        "--where", action="append", default=[], metavar="TEST", help="only rows for which it holds"
    )
    parser.add_argument(
        "--topic", action="append", default=[], help="only rows of it, as process or process.exec"
    )
    parser.add_argument("--columns", metavar="A,B", help="these columns, in this order")
    parser.add_argument("--limit", type=_count, metavar="N", help="at most so many rows")
    parser.add_argument(
        "--since", type=_since, metavar="TIME", help="rows since 10m ago, or since 2026-01-31T12:00"
    )
    parser.add_argument(
        "--format", choices=("table", "json", "csv"), default="table", help="of the output"
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows")
    return int(text)


def _since(text: str) -> int:
    """A duration before now, or a date and time (local where it names no zone), in ns."""
    try:
        return time.time_ns() - int(seconds(text) * 1e9)
    except argparse.ArgumentTypeError:
        pass
    try:
        return int(datetime.fromisoformat(text).timestamp()) * 10**9
    except (ValueError, OverflowError, OSError):
        said = f"{text!r} is neither a duration (10m) nor a time (2026-01-31T12:00)"
        raise argparse.ArgumentTypeError(said) from None


def run(args: argparse.Namespace) -> int:
    """Print the rows; the exit code. Errors are raised."""
    from tapio.cli.files import Files, found

    columns = args.columns.split(",") if args.columns else []
    rows = Selection(args.where, args.since, args.limit, columns)
    files = Files(found(args.files), args.topic)
    show: Print = printer(args.format, sys.stdout, columns)
    for batch in rows.of(files):
        show(batch)
    rows.check()
    files.check()
    return OK


class Selection:
    """Chooses rows and columns, and remembers whether the names were ever there."""

    def __init__(
        self, tests: Sequence[str], since: int | None, limit: int | None, columns: Sequence[str]
    ) -> None:
        self._tests = [where.parse(text) for text in tests]
        self._since = since
        self._left = limit
        self._columns = columns
        named = {n.field for t in self._tests for n in where.comparisons(t) if n.field}
        self._unseen = named | set(columns)
        self._seen: dict[str, None] = {}

    def of(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The rows wanted, with all their columns."""
        for batch in batches:
            self._unseen -= set(batch)
            self._seen |= dict.fromkeys(batch)
            chosen = self._chosen(batch)
            if self._left is not None:
                chosen = chosen.slice(0, self._left)
                self._left -= chosen.rows
            if chosen.rows:
                yield chosen
            if self._left == 0:
                return

    def check(self) -> None:
        """Raise UsageError for a column that no file had, unless the limit came first."""
        if self._unseen and self._seen and self._left != 0:
            names = ", ".join(sorted(self._unseen))
            raise UsageError(f"no column {names} in these rows; there are {', '.join(self._seen)}")

    def _chosen(self, batch: Batch) -> Batch:
        mask = np.ones(batch.rows, bool)
        if self._since is not None:
            mask &= batch["time_ns"] >= self._since
        for test in self._tests:
            where.check(test, batch.schema)
            mask &= test.mask(batch)
        return batch.where(mask)
