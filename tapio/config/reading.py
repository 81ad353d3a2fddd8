"""YAML text → ``Node``: bounded, with a line for each value.

Scalars are read by YAML 1.2's core schema: ``no`` and ``on`` are texts, ``1e3`` is a number.
A key is always the text as written. Anchors and aliases work; tags and merge keys do not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.events import Event
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from tapio.config.node import Faults, Mark, Node, Scalar, join
from tapio.model.errors import ConfigError

MAX_DEPTH = 32
"""How deep values may nest; a ``when`` of ten levels takes 24."""
MAX_NODES = 50_000
"""How many values there may be once aliases are followed, which could double at each line."""

_INT = re.compile(r"[-+]?[0-9][0-9_]{0,30}|0x[0-9a-fA-F]{1,16}|0o[0-7]{1,22}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {"": None, "~": None, "null": None, "true": True, "false": False}


def scalar(text: str) -> Scalar:
    """What a plain (unquoted) text is: null, true, false, an int, a finite float, else text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INT.fullmatch(text):
        return int(text, 0 if text[:2] in ("0x", "0o") else 10)
    if _FLOAT.fullmatch(text) and len(text) < 64 and math.isfinite(float(text)):
        return float(text)
    return text


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML's reader up to the node graph; no Python object is ever made from a tag."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._budget = _Budget()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise _refused("tags (!…) are not taken here; write a plain value", event.start_mark)
        with self._budget.spend(event.start_mark):
            return super().compose_node(parent, index)


def _refused(why: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, why, mark)


class _Budget:
    """Counts values, and how deep they nest, while a tree is walked."""

    def __init__(self) -> None:
        self._depth = 0
        self._nodes = 0

    @contextmanager
    def spend(self, mark: Any) -> Iterator[None]:
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH:
            raise _refused(f"values nest deeper than {MAX_DEPTH} levels", mark)
        if self._nodes > MAX_NODES:
            raise _refused(f"more than {MAX_NODES} values, aliases followed", mark)
        yield
        self._depth -= 1


def read(text: str, file: str, faults: Faults) -> Node | None:
    """The tree that ``text`` says, None where it says nothing at all.

    Repeated keys go to ``faults``; ConfigError where it is no YAML or exceeds a bound. The
    caller bounds the length of ``text``.
    """
    try:
        root = _Loader(text).get_single_node()
        return None if root is None else _Converter(file, faults).node(root, "")
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        line = at.line + 1 if at else 0
        raise ConfigError(_problem(error, text, line), file=file, line=line) from None
    except ReaderError as error:
        line = text[: int(error.position)].count("\n") + 1
        code = error.character if isinstance(error.character, int) else ord(error.character[:1])
        raise ConfigError(
            f"character U+{code:04X} cannot stand in YAML", file=file, line=line
        ) from None


def _problem(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    """PyYAML's sentence, and what to do about the commonest mistakes."""
    said = ", ".join(part for part in (error.context, error.problem) if part)
    lines = text.splitlines()
    if 0 < line <= len(lines) and "${" in lines[line - 1]:
        return f"not YAML: {said}; put a ${{…}} in quotes inside [ ] and {{ }}"
    if "'\\t'" in said:
        return "not YAML: a tab stands here; put spaces in its place"
    return f"not YAML: {said}"


def _is_plain(raw: yaml.Node) -> bool:
    """Whether a scalar was written without quotes."""
    return isinstance(raw, yaml.ScalarNode) and raw.style is None


class _Converter:
    """yaml.Node → Node, under a budget of its own: aliases share, and may be circular."""

    def __init__(self, file: str, faults: Faults) -> None:
        self._file = file
        self._faults = faults
        self._budget = _Budget()

    def node(self, raw: yaml.Node, path: str) -> Node:
        mark = Mark(self._file, raw.start_mark.line + 1)
        with self._budget.spend(raw.start_mark):
            if isinstance(raw, yaml.MappingNode):
                return self._mapping(raw, path, mark)
            if isinstance(raw, yaml.SequenceNode):
                return Node(
                    [self.node(n, join(path, str(i))) for i, n in enumerate(raw.value)], mark
                )
            return Node(scalar(raw.value) if _is_plain(raw) else raw.value, mark)

    def _mapping(self, raw: yaml.MappingNode, path: str, mark: Mark) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        for raw_key, raw_value in raw.value:
            at = Mark(self._file, raw_key.start_mark.line + 1)
            if not isinstance(raw_key, yaml.ScalarNode):
                self._faults.add("a key is a word, not a list or a mapping", path, at)
                continue
            key = str(raw_key.value)
            if key in keys:
                said = f"this key stands in line {keys[key].line} already; give it once"
                self._faults.add(said, join(path, key), at)
                continue
            keys[key] = at
            values[key] = self.node(raw_value, join(path, key))
        return Node(values, mark, keys)
