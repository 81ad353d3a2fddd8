"""``tapio validate``: what is wrong with a config file, before it runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tapio.cli.boundary import CONFIG, OK
from tapio.cli.terminal import escaped
from tapio.model.errors import ConfigError
from tapio.registry import Registry

if TYPE_CHECKING:
    from tapio.config.document import Document
    from tapio.config.topology import Finding, Level

DETAILS = """\
Three looks, each only where the one before found no error:

  schema       every key, type and stage; all errors of the file are told
  topology     columns and topics that nobody makes, secrets that nobody
               redacts; and what each sink does when it is full: whom it
               stalls, or what it drops, and after how long
  environment  privileges and BTF for eBPF, folders that must be writable,
               files that must be readable, host names; of this machine, so
               leave it out elsewhere with --no-environment

Each finding is a line FILE:LINE: PATH: what to do. Values that a ${NAME} or
${file:/path} gave are never shown.

examples:
  tapio validate node.yaml
  tapio validate node.yaml --set sinks.0.path=/var/lib/tapio
  tapio validate node.yaml --no-environment --json | jq '.findings[].path'

exit codes:
  0 no error (there may be warnings), 2 usage, 78 errors
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "validate",
        help="check a config file: schema, topology, then this environment",
        description="Check a config file without running it.",
        epilog=DETAILS,
    )
    parser.add_argument("file", metavar="FILE", help="the config file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="as in `tapio run`"
    )
    parser.add_argument(
        "--no-environment", action="store_true", help="leave out what depends on this machine"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    """Print the findings; 78 where one is an error."""
    findings = list(_findings(Path(args.file), args.set, environment=not args.no_environment))
    _print_json(findings) if args.json else _print(args.file, findings)
    return CONFIG if _count(findings, "error") else OK


class Placed(ConfigError):
    """A finding at its place in the file."""

    def __init__(self, level: Level, error: ConfigError) -> None:
        super().__init__(error.reason, path=error.path, file=error.file, line=error.line)
        self.level = level


def _findings(file: Path, overrides: Sequence[str], *, environment: bool) -> list[Placed]:
    from tapio.config import ConfigErrors, document

    try:
        read = document(file, registry=Registry.installed(), overrides=overrides)
    except ConfigErrors as errors:
        return [Placed("error", error) for error in errors.errors]
    except ConfigError as error:
        return [Placed("error", error)]
    return checked(read, environment=environment)


def checked(read: Document, *, environment: bool) -> list[Placed]:
    """What the looks behind the schema find, at its place in the file."""
    from tapio.config import topology

    found = [_placed(read, f) for f in topology.check(read.plan)]
    if environment and not _count(found, "error"):
        from tapio.config import environment as here

        found += [_placed(read, f) for f in here.check(read.plan)]
    return sorted(found, key=lambda finding: (finding.file, finding.line))


def _placed(read: Document, finding: Finding) -> Placed:
    path, mark = read.place(finding.path)
    error = ConfigError(finding.reason, path=path, file=mark.file, line=mark.line)
    return Placed(finding.level, error)


def _count(findings: Sequence[Placed], level: Level) -> int:
    return sum(finding.level == level for finding in findings)


def _print(file: str, findings: Sequence[Placed]) -> None:
    for finding in findings:
        out = sys.stdout if finding.level == "note" else sys.stderr
        print(f"{finding.level}: {escaped(str(finding))}", file=out)
    errors, warnings = _count(findings, "error"), _count(findings, "warning")
    counted = ", ".join(
        _many(n, word) for n, word in ((errors, "error"), (warnings, "warning")) if n
    )
    print(f"{escaped(file)}: {counted or 'nothing is wrong'}")


def _many(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _print_json(findings: Sequence[Placed]) -> None:
    """``ok``, and each finding's level, file, line (0: none), path and reason."""
    said = [
        {"level": f.level, "file": f.file, "line": f.line, "path": f.path, "reason": f.reason}
        for f in findings
    ]
    print(json.dumps({"ok": not _count(findings, "error"), "findings": said}, indent=2))
