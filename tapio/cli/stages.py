"""``tapio stages``: the stages that can be used, and their settings, as the code says them."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from tapio.cli import terminal
from tapio.cli.boundary import OK, UsageError, say
from tapio.cli.terminal import escaped
from tapio.config.describing import Setting, document, sentence, settings
from tapio.config.document import SECTIONS
from tapio.model.stage import Spec
from tapio.registry import KINDS, Registry, nearest

DETAILS = """\
A TYPE is what stands behind `type:` in a config file: otlp, adaptive. Where two
kinds have one of that name, say sink.otlp.

examples:
  tapio stages                 all of them, a line each
  tapio stages otlp            its settings, with types, units and defaults
  tapio stages --json | jq '.[] | select(.kind == "sink") | .type'
"""

SECTION = {kind: section for section, kind in SECTIONS.items()}
"""The section of a config file in which stages of a kind stand."""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "stages",
        help="list the stages that can be used, with their settings",
        description="List the stages that can be used, plugins included.",
        epilog=DETAILS,
    )
    parser.add_argument("type", nargs="?", metavar="TYPE", help="one stage, in full")
    parser.add_argument("--json", action="store_true", help="as JSON, with all settings")


def run(args: argparse.Namespace) -> int:
    """Print them; plugins that cannot be loaded are named on stderr."""
    registry = Registry.installed()
    chosen = _chosen(registry, args.type)
    if args.json:
        print(json.dumps([_record(kind, tag, spec) for kind, tag, spec in chosen], indent=2))
    elif args.type is None:
        _write(_lines(chosen))
    else:
        _write(line for kind, tag, spec in chosen for line in _page(kind, tag, spec))
    if args.type is None:
        for error in registry.broken():
            say(str(error))
    return OK


def _write(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _chosen(registry: Registry, name: str | None) -> list[tuple[str, str, type[Spec]]]:
    """(kind, tag, class) of the stages asked for. UsageError where there is none."""
    if name is None:
        return [(kind, tag, c) for kind in KINDS for tag, c in registry.all(kind).items()]
    kind, dot, tag = name.partition(".")
    wanted = (kind,) if dot and kind in KINDS else tuple(KINDS)
    tag = tag if dot and kind in KINDS else name
    found = [(k, tag, registry.get(k, tag)) for k in wanted if tag in registry.names(k)]
    if not found:
        known = [n for k in KINDS for n in registry.names(k)]
        hint = nearest(tag, known) or f"; there are: {', '.join(known)}"
        raise UsageError(f"there is no stage {name!r}{hint}")
    return found


def _lines(stages: Iterable[tuple[str, str, type[Spec]]]) -> Iterator[str]:
    """A heading for each section, a line for each stage."""
    stages = list(stages)
    wide = max((len(tag) for _, tag, _ in stages), default=0)
    section = ""
    for kind, tag, spec in stages:
        if SECTION[kind] != section:
            yield from ("",) if section else ()
            section = SECTION[kind]
            yield f"{section}:"
        yield from _hanging(f"  {tag:<{wide}}  ", sentence(spec))


def _page(kind: str, tag: str, spec: type[Spec]) -> Iterator[str]:
    """One stage in full."""
    yield f"{SECTION[kind]}: {tag}"
    yield ""
    for paragraph in document(spec).split("\n\n"):
        yield from textwrap.wrap(escaped(" ".join(paragraph.split())), _width())
        yield ""
    shared = False
    for setting in settings(spec):
        if setting.shared and not shared:
            shared = True
            yield f"of every {kind}:"
        yield from _setting(setting)


def _setting(setting: Setting) -> Iterator[str]:
    given = "required" if setting.required else f"default {json.dumps(setting.default)}"
    facts = filter(None, (setting.type, setting.unit, given))
    yield from _hanging(f"  {setting.name}  ", "; ".join(facts), 6)
    if setting.doc:
        yield from _hanging("      ", setting.doc)


def _hanging(start: str, text: str, indent: int | None = None) -> list[str]:
    """``text`` behind ``start``, later lines indented as far."""
    later = " " * (len(start) if indent is None else indent)
    if len(later) > _width() // 2:
        later = "      "
    lines = textwrap.wrap(escaped(text), _width(), initial_indent=start, subsequent_indent=later)
    return lines or [start.rstrip()]


def _width() -> int:
    """Lines of prose are at most 100 wide."""
    return min(100, terminal.width())


def _record(kind: str, tag: str, spec: type[Spec]) -> dict[str, Any]:
    return {
        "kind": kind,
        "section": SECTION[kind],
        "type": tag,
        "summary": sentence(spec),
        "doc": document(spec),
        "plugin": spec.__module__.partition(".")[0],
        "settings": [s._asdict() for s in settings(spec)],
    }
