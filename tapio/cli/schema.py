"""``tapio schema``: the JSON Schema of config files, of the stages that are installed here."""

from __future__ import annotations

import argparse
import json
import sys

from tapio.cli.boundary import OK, say
from tapio.registry import Registry

DETAILS = """\
Editors check and complete a config file by it. With the YAML language server,
make it the file's first line:

  # yaml-language-server: $schema=tapio.schema.json

examples:
  tapio schema > tapio.schema.json

Draft 2020-12. It knows every installed plugin; what it cannot say (that a name
is set, that two settings agree) `tapio validate` does.
"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    subparsers.add_parser(
        "schema",
        help="print the JSON Schema of config files, plugins included",
        description="Print the JSON Schema of config files, plugins included.",
        epilog=DETAILS,
    )


def run(args: argparse.Namespace) -> int:
    """Print it; plugins that cannot be loaded are named on stderr and left out."""
    from tapio.config.json_schema import schema

    registry = Registry.installed()
    json.dump(schema(registry), sys.stdout, indent=2)
    print()
    for error in registry.broken():
        say(f"left out: {error}")
    return OK
