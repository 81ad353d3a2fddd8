"""A configuration → ``Plan``: which sections there are, and what stands where.

``enrich``, ``sample``, ``batch`` and ``steps`` make the trunk, in the order in which they are
written. Each section is one stage or a list of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec

from tapio.config.decoding import Decoder, Undecodable, hide, walk
from tapio.config.filling import fill
from tapio.config.node import Faults, Mark, Node, join
from tapio.config.overriding import override
from tapio.config.reading import read
from tapio.model.errors import ConfigError
from tapio.model.plan import Plan
from tapio.model.policy import Settings
from tapio.model.stage import Spec
from tapio.registry import Registry

MAX_BYTES = 1 << 20
"""The most bytes of a configuration; those of large clusters are some 20 KiB."""

SECTIONS: Mapping[str, str] = {
    "sources": "source",
    "enrich": "enrich",
    "sample": "sample",
    "batch": "batch",
    "steps": "step",
    "sinks": "sink",
}
"""The sections that hold stages, and the kind of stage that each holds."""
TRUNK = ("enrich", "sample", "batch", "steps")
KEYS = ("pipeline", *SECTIONS, "settings")
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
"""What a pipeline may be called."""
QUALIFIED = ("enrich", "sample", "batch")
"""The kinds that ``steps`` takes too, written ``batch.summarize``."""


@dataclass(frozen=True, slots=True)
class Document:
    """A plan, and where each part of it was written."""

    plan: Plan
    file: str
    trunk: tuple[str, ...]
    """The path of each stage of the trunk: ``sample.0``."""
    marks: Mapping[str, Mark]

    def place(self, path: str) -> tuple[str, Mark]:
        """The config path and mark of a plan's path (``trunk.2.when`` → ``sample.0.when``)."""
        head, _, rest = path.partition(".")
        if head == "trunk":
            index, _, rest = rest.partition(".")
            path = join(self.trunk[int(index)], rest) if rest else self.trunk[int(index)]
        known = path
        while known and known not in self.marks:
            known = known.rpartition(".")[0]
        return path, self.marks.get(known, Mark(self.file, 0))


def load(source: Path | str, *, registry: Registry, overrides: Sequence[str] = ()) -> Plan:
    """The plan that a file (``Path``) or a text (``str``) says.

    ``overrides`` are ``path=value``. ConfigError with file, line and path; ConfigErrors where
    there are several. The environment and ``${file:…}`` are read now, and a Secret's file
    again whenever it changes.
    """
    return document(source, registry=registry, overrides=overrides).plan


def document(source: Path | str, *, registry: Registry, overrides: Sequence[str] = ()) -> Document:
    """As ``load``, with the places."""
    text, file = (_text(source), str(source)) if isinstance(source, Path) else (source, "<text>")
    if len(text) > MAX_BYTES:
        raise ConfigError(f"a configuration has at most {MAX_BYTES >> 20} MiB", file=file)
    faults = Faults()
    root = read(text, file, faults)
    if root is None:
        raise ConfigError(
            "there is nothing in it; `tapio init` writes one to start from", file=file
        )
    if not isinstance(root.value, dict):
        raise ConfigError("expected keys and values, such as `sources:`", file=file, line=1)
    root = _listed(override(root, overrides, faults))
    root = fill(root, os.environ, faults)
    return _Reader(registry, faults).document(root, file)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError("is not UTF-8; save it as that", file=str(path), line=line) from error


def _listed(root: Node) -> Node:
    """``root`` with each lone stage made a list of one."""
    values = {
        key: Node([node], node.mark) if key in SECTIONS and isinstance(node.value, dict) else node
        for key, node in root.below().items()
    }
    return replace(root, value=values)


class _Reader:
    """Decodes the sections; goes on after an error, to find the next."""

    def __init__(self, registry: Registry, faults: Faults) -> None:
        self._registry = registry
        self._faults = faults
        self._decoder = Decoder(faults)

    def document(self, root: Node, file: str) -> Document:
        sections = self._decoder.mapping(root, "", KEYS)
        made = {s: self._stages(s, n) for s, n in sections.items() if s in SECTIONS}
        for needed in ("sources", "sinks"):
            if not sections.get(needed, root).below() or needed not in sections:
                self._faults.add("a pipeline needs at least one", needed, root.mark)
        name = self._value("pipeline", Name, sections, "tapio")
        settings = self._value("settings", Settings, sections, Settings())
        self._faults.check()
        trunk = [(p, s) for section, of in made.items() if section in TRUNK for p, s in of.items()]
        plan = Plan(
            name,
            tuple(made["sources"].values()),  # type: ignore[arg-type]
            tuple(stage for _, stage in trunk),  # type: ignore[misc]
            tuple(made["sinks"].values()),  # type: ignore[arg-type]
            settings,
        )
        return Document(plan, file, tuple(path for path, _ in trunk), dict(walk(root)))

    def _value(self, key: str, kind: Any, sections: Mapping[str, Node], default: Any) -> Any:
        try:
            return self._decoder.value(kind, sections[key], key) if key in sections else default
        except Undecodable:
            return default

    def _stages(self, section: str, node: Node) -> dict[str, Spec]:
        """The stages of a section by path; those that are wrong are left out, and noted."""
        if not isinstance(node.value, list):
            if node.value is not None:
                said = "expected a stage (`type: …` and its settings) or a list of them"
                self._faults.add(said, section, node.mark)
            return {}
        stages = {}
        for index, item in node.below().items():
            path = join(section, index)
            try:
                stages[path] = self._stage(SECTIONS[section], item, path)
            except Undecodable:
                continue
        return stages

    def _stage(self, kind: str, node: Node, path: str) -> Spec:
        if not isinstance(node.value, dict):
            said = "expected a stage: `type: …` and its settings"
            raise self._decoder.fail(said, path, node.mark)
        if "type" not in node.value:
            known = ", ".join(self._registry.names(kind))
            said = f"a stage needs its type; there are: {known}"
            raise self._decoder.fail(said, join(path, "type"), node.mark)
        written = node.value["type"]
        tag = self._decoder.value(str, written, join(path, "type"))
        try:
            found = self._find(kind, tag)
        except ConfigError as error:
            said = hide(error.reason, written)
            raise self._decoder.fail(said, join(path, "type"), written.mark) from None
        return self._decoder.struct(found, node, path, "type")

    def _find(self, kind: str, tag: str) -> type[Spec]:
        """The class of a type as it is written: in ``steps`` it may name its kind."""
        qualifier, dot, rest = tag.partition(".")
        if kind == "step" and dot and qualifier in QUALIFIED:
            return self._registry.get(qualifier, rest)
        return self._registry.get(kind, tag)
