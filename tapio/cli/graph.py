"""``tapio graph``: a config file's pipeline, drawn."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tapio.cli import terminal
from tapio.cli.boundary import OK
from tapio.cli.terminal import escaped
from tapio.registry import KINDS, Registry

if TYPE_CHECKING:
    from tapio.model.plan import Plan
    from tapio.model.stage import Spec
    from tapio.model.when import When

DETAILS = """\
Rows flow from the sources through each stage of the trunk, in its order, and
from there to every sink whose `when` chooses them. Beside a sink stands what
its channel does when it is full.

examples:
  tapio graph node.yaml
  tapio graph node.yaml --format mermaid      for Markdown
  tapio graph node.yaml --format dot | dot -Tsvg > node.svg
"""

LINES: Mapping[bool, tuple[str, str, str]] = {True: ("│", "├─", "└─"), False: ("|", "+-", "`-")}
"""What lines are drawn with, by whether the locale is one of UTF-8."""


class Box(NamedTuple):
    """One stage: what it is called, its kind, and what is worth saying of it."""

    label: str
    kind: str
    detail: str = ""


class Drawing(NamedTuple):
    """A pipeline, as it is drawn."""

    name: str
    sources: list[Box]
    trunk: list[Box]
    sinks: list[Box]


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "graph",
        help="draw a config file's pipeline",
        description="Draw the pipeline of a config file.",
        epilog=DETAILS,
    )
    parser.add_argument("file", metavar="FILE", help="the config file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="as in `tapio run`"
    )
    parser.add_argument(
        "--format", choices=("text", "mermaid", "dot"), default="text", help="of the drawing"
    )


def run(args: argparse.Namespace) -> int:
    """Draw it; errors are raised."""
    from tapio.config import load

    plan = load(Path(args.file), registry=Registry.installed(), overrides=args.set)
    draw = {"text": text, "mermaid": mermaid, "dot": dot}[args.format]
    sys.stdout.write("".join(f"{line}\n" for line in draw(drawing(plan))))
    return OK


def drawing(plan: Plan) -> Drawing:
    """What there is to draw; texts that could command a terminal are escaped."""
    sinks = [
        Box(
            box.label,
            "sink",
            ", ".join(filter(None, (plan.on_full(sink), _when(sink.when)))),
        )
        for box, sink in zip(_boxes(plan.sinks), plan.sinks, strict=True)
    ]
    return Drawing(escaped(plan.name), _boxes(plan.sources), _boxes(plan.trunk), sinks)


def _boxes(specs: Iterable[Spec]) -> list[Box]:
    from tapio.model.plan import labels

    specs = tuple(specs)
    named = zip(labels(specs), specs, strict=True)
    return [Box(escaped(label), _kind(spec)) for label, spec in named]


def _kind(spec: Spec) -> str:
    return next(kind for kind, needed in KINDS.items() if isinstance(spec, needed))


def _when(when: When | None) -> str:
    return f"when {escaped(_said(when))}" if when is not None else ""


def _said(when: When) -> str:
    """A ``when`` on one line; texts that are compared with are left out, they may be secret."""
    if when.topic is not None:
        return " or ".join(when.topic)
    if when.severity is not None:
        return f"severity >= {when.severity}"
    if when.not_ is not None:
        return f"not ({_said(when.not_)})"
    if when.field is not None:
        return f"{when.field} {_comparison(when)}"
    word, nodes = (" and ", when.all) if when.all is not None else (" or ", when.any or ())
    return word.join(f"({_said(n)})" if n.all or n.any else _said(n) for n in nodes) or "never"


def _comparison(when: When) -> str:
    for name, sign in {"eq": "=", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():
        value = getattr(when, name)
        if value is not None:
            return f"{sign} {'...' if isinstance(value, str) else value}"
    return "in (...)"


def text(drawn: Drawing) -> Iterator[str]:
    """For a terminal, in lines that fit it where they can."""
    line, branch, last = LINES[terminal.unicode()]
    boxes = [*drawn.sources, *drawn.trunk, *drawn.sinks]
    wide = max(len(box.label) for box in boxes)
    yield drawn.name
    yield ""
    for box in drawn.sources:
        yield f"  {box.label:<{wide + 5}}  {box.kind}"
    for box in drawn.trunk:
        yield f"    {line}"
        yield f"  {box.label:<{wide + 5}}  {box.kind}"
    yield f"    {line}"
    for box in drawn.sinks:
        joint = last if box is drawn.sinks[-1] else branch
        start = f"    {joint} {box.label:<{wide}}  {box.kind}"
        yield from _with_detail(start, f"    {' ' if joint is last else line}    ", box.detail)


def _with_detail(start: str, indent: str, detail: str) -> Iterator[str]:
    """The detail on the same line, or below where that is too narrow."""
    if len(start) + 2 + len(detail) <= terminal.width():
        yield f"{start}  {detail}"
    else:
        yield start
        yield indent + detail


def mermaid(drawn: Drawing) -> Iterator[str]:
    """A Mermaid flowchart."""
    yield "flowchart TD"
    for name, box, (left, right) in _named(drawn, ('(["', '"])'), ('["', '"]'), ('[("', '")]')):
        yield f"  {name}{left}{_for_mermaid(box)}{right}"
    for one, other, detail in _edges(drawn):
        said = f"|{_quoted(detail)}|" if detail else ""
        yield f"  {one} -->{said} {other}"


def _for_mermaid(box: Box) -> str:
    return f"{_coded(box.label)}<br/>{box.kind}"


def _quoted(detail: str) -> str:
    return f'"{_coded(detail)}"'


def _coded(text: str) -> str:
    """Characters that mean something to Mermaid or HTML, as Mermaid's character codes."""
    return re.sub(r"[^\w .,:=!/()+-]", lambda m: f"#{ord(m[0])};", text)


def dot(drawn: Drawing) -> Iterator[str]:
    """A Graphviz digraph."""
    yield f"digraph {_string(drawn.name)} {{"
    yield '  node [fontname="sans-serif"]; edge [fontname="sans-serif"];'
    for name, box, (shape, _) in _named(drawn, ("ellipse", ""), ("box", ""), ("cylinder", "")):
        yield f"  {name} [shape={shape}, label={_string(f'{box.label}{chr(10)}{box.kind}')}];"
    for one, other, detail in _edges(drawn):
        said = f" [label={_string(detail)}]" if detail else ""
        yield f"  {one} -> {other}{said};"
    yield "}"


def _string(text: str) -> str:
    escaped_ = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped_}"'


def _named(
    drawn: Drawing, source: tuple[str, str], stage: tuple[str, str], sink: tuple[str, str]
) -> Iterator[tuple[str, Box, tuple[str, str]]]:
    """(name, box, shape) of each box; names are ours, so that any label can be drawn."""
    rows = (
        ("source", drawn.sources, source),
        ("stage", drawn.trunk, stage),
        ("sink", drawn.sinks, sink),
    )
    for prefix, boxes, shape in rows:
        yield from ((f"{prefix}{i}", box, shape) for i, box in enumerate(boxes))


def _edges(drawn: Drawing) -> Iterator[tuple[str, str, str]]:
    """(from, to, detail): sources to the first stage, along the trunk, from its end to sinks."""
    trunk = [f"stage{i}" for i in range(len(drawn.trunk))]
    sources = [f"source{i}" for i in range(len(drawn.sources))]
    yield from ((s, trunk[0], "") for s in sources if trunk)
    yield from ((a, b, "") for a, b in pairwise(trunk))
    for start in trunk[-1:] or sources:
        yield from ((start, f"sink{i}", box.detail) for i, box in enumerate(drawn.sinks))
