"""``tapio init``: a commented config file to start from."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tapio.cli.boundary import OK, UsageError, say
from tapio.config import profile
from tapio.config.profiles import names
from tapio.kernel import capability

DETAILS = """\
Writes one of the built-in pipelines, with comments, to FILE or to stdout:

  default   processes by eBPF
  procfs    processes, TCP counters and pressure from /proc, with no privilege

Without --profile it is the one that this machine can run. Both hide secrets in
command lines, and both pass `tapio validate` as they are.

examples:
  tapio init node.yaml && tapio run -c node.yaml
  tapio init --profile procfs > node.yaml
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "init",
        help="write a commented config file to start from",
        description="Write a commented config file to start from.",
        epilog=DETAILS,
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="where to; stdout without it")
    parser.add_argument("--profile", choices=names(), help="which pipeline")
    parser.add_argument("--force", action="store_true", help="overwrite FILE if it is there")


def run(args: argparse.Namespace) -> int:
    """Write it; UsageError where FILE is there already."""
    text = profile(args.profile or _fitting()).read_text(encoding="utf-8")
    if args.file is None:
        sys.stdout.write(text)
        return OK
    try:
        with Path(args.file).open("w" if args.force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{args.file} is there already; --force overwrites it") from error
    say(f"wrote {args.file}; run it with `tapio run -c {args.file}`")
    return OK


def _fitting() -> str:
    """The profile that this machine can run; says where that is not eBPF's, and why."""
    lacking = capability.missing()
    if lacking:
        say(f"this is the pipeline without eBPF, which cannot be used: {'; '.join(lacking)}")
    return "procfs" if lacking else "default"
