"""The command ``tapio``: finds the subcommand, and imports that one alone."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NoReturn

from tapio.cli import terminal
from tapio.cli.boundary import USAGE, Boundary

COMMANDS: Mapping[str, str] = {
    "run": "run a pipeline; without a name for it, this node's default one",
    "init": "write a commented config file to start from",
    "validate": "check a config file: schema, topology, then this environment",
    "graph": "draw a config file's pipeline",
    "schema": "print the JSON Schema of config files, plugins included",
    "stages": "list the stages that can be used, with their settings",
    "show": "print rows of Arrow files, filtered",
    "convert": "turn Arrow files into Parquet or NDJSON",
}

ABOUT = """\
Tapio takes events out of the Linux kernel, gives each one its identity, keeps
the few that matter, and delivers them, losing nothing that it does not count.
"""

MORE = """\
examples:
  tapio                            watch this machine (the same as `tapio run`)
  tapio --for 10s                  the same, for ten seconds
  tapio init > node.yaml           a config file to start from
  tapio validate node.yaml         what is wrong with it, by line
  tapio run -c node.yaml --set sample.0.target_per_s=100
  tapio show ~/.local/state/tapio --where 'exit_code != 0'

exit codes:
  0    the end of the stream, or a stop that was drained
  1    the engine or a stage failed
  2    wrong usage
  77   no source can be opened without more privilege
  78   the configuration cannot be used
  130  a second signal ended it at once

`tapio COMMAND --help` says more about a command.
"""


class Parser(argparse.ArgumentParser):
    """Argparse, with help that keeps its lines and errors that name what was meant."""

    def __init__(self, **said: object) -> None:
        settings = {"formatter_class": argparse.RawDescriptionHelpFormatter} | said
        super().__init__(**settings, allow_abbrev=False)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """One sentence and where help is; exit 2."""
        self.exit(USAGE, f"tapio: {message}; see `{self.prog} --help`\n")


class Version(argparse.Action):
    """``--version``: imported and asked only when it is wanted."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Print it and leave."""
        from tapio.cli.version import version

        print(version())
        parser.exit()


def parser(command: str) -> argparse.ArgumentParser:
    """The parser of all commands, in full for ``command`` alone."""
    top = Parser(prog="tapio", description=ABOUT, epilog=MORE)
    top.add_argument("--version", action=Version, nargs=0, help="print versions and leave")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, line in COMMANDS.items():
        if name != command:
            commands.add_parser(name, help=line)
            continue
        importlib.import_module(f"tapio.cli.{name}").add(commands)
        said = "show the traceback of an error"
        commands.choices[name].add_argument("--debug", action="store_true", help=said)
        top.prog = f"tapio {name}"  # whose help an error points to
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv``; its exit code."""
    terminal.prepare()
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "run")
    try:
        return _called(words)
    finally:
        for stream in (sys.stdout, sys.stderr):
            terminal.finish(stream)


def _called(words: Sequence[str]) -> int:
    command = words[0] if words[0] in COMMANDS else ""
    if not command and not words[0].startswith("-"):
        near = get_close_matches(words[0], COMMANDS, 1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
        parser("").error(f"there is no command {words[0]!r}: {meant}")
    with Boundary(debug="--debug" in words) as boundary:
        args = parser(command).parse_args(words)
        return int(importlib.import_module(f"tapio.cli.{command}").run(args))
    return boundary.code
