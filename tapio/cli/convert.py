"""``tapio convert``: Arrow files into Parquet or NDJSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tapio.cli.boundary import OK, UsageError
from tapio.cli.terminal import interactive

if TYPE_CHECKING:
    from tapio.cli.files import Files
    from tapio.model.batch import Batch

FORMS = {".parquet": "parquet", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson"}

DETAILS = """\
FILE is an Arrow stream that `sinks.file` wrote, or a folder of them; of a folder,
files that are still open (*.part) are left out. OUT is a file (its suffix says
the format), or a folder, which gets one file a topic. It appears under its name
only when it is whole; of a damaged FILE, what stands before the damage is
converted, and the exit code is 1.

examples:
  tapio convert out --topic process.exec -o exec.parquet
  tapio convert out -o parquet/ --to parquet
  tapio convert out/process.exec-*.arrows -o rows.ndjson
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "convert",
        help="turn Arrow files into Parquet or NDJSON",
        description="Turn Arrow stream files into Parquet or NDJSON.",
        epilog=DETAILS,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="an Arrow stream, or a folder")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="a file or a folder")
    parser.add_argument("--to", choices=("parquet", "ndjson"), help="the format of a folder")
    parser.add_argument("--topic", action="append", default=[], help="only this topic")
    parser.add_argument("--force", action="store_true", help="replace what is there")


def run(args: argparse.Namespace) -> int:
    """Convert; the exit code. Errors are raised."""
    from tapio.cli.files import Files, found
    from tapio.cli.writing import Outputs

    files = Files(found(args.files, unfinished=False), args.topic)
    target = Path(args.output)
    folder = args.output.endswith("/") or target.is_dir()
    form = args.to or (None if folder else FORMS.get(target.suffix))
    if form is None:
        how = "say" if folder else "end it in .parquet or .ndjson, or say"
        raise UsageError(f"-o {args.output}: {how} --to parquet or --to ndjson")
    with Outputs(target, form, files, folder=folder, force=args.force) as outputs:
        for batch in _followed(files):
            outputs.write(batch)
        if not outputs.written:
            files.check()  # the damage is why there is nothing
        outputs.publish()
    for path, rows in outputs.written.items():
        print(f"{path}: {rows:,} rows")
    files.check()
    return OK


def _followed(files: Files) -> Iterator[Batch]:
    """The batches, with a progress bar on stderr where that is a terminal."""
    if not interactive(sys.stderr):
        yield from files
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("converting", total=files.size)
        for batch in files:
            yield batch
            progress.update(task, completed=files.done)
