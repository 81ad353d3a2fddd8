"""``Node`` → typed values: every error with its place, all of them, and none with a secret.

Strict: a text is no number, but for one that is wholly a ``${…}``, which becomes what the
field is. msgspec checks the single values; the walk is ours, so that each error has its line
and the next one is found too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tapio.config.annotation import bare, is_struct, items, optional
from tapio.config.node import Faults, Mark, Node, join
from tapio.config.reading import scalar
from tapio.config.wording import expected, reason, split
from tapio.model.errors import ConfigError
from tapio.model.secret import Secret
from tapio.registry import nearest

T = TypeVar("T", bound=msgspec.Struct)


class Undecodable(Exception):
    """The place is wrong, and its fault is noted."""


class Decoder:
    """Turns nodes into values of a type; what is wrong goes to ``faults``."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def fail(self, reason: str, path: str, mark: Mark) -> Undecodable:
        """Note a fault; raise what this returns."""
        self._faults.add(reason, path, mark)
        return Undecodable()

    def mapping(self, node: Node, path: str, known: Iterable[str]) -> dict[str, Node]:
        """The entries of a mapping whose keys are ``known``; the others are faults."""
        if not isinstance(node.value, dict):
            raise self.fail("expected keys and values", path, node.mark)
        names = tuple(known)
        for key in [k for k in node.value if k not in names]:
            hint = nearest(key, names) or f"; there are: {', '.join(names)}"
            self._faults.add(f"unknown key {key!r}{hint}", join(path, key), node.keys[key])
        return {k: n for k, n in node.value.items() if k in names}

    def struct(self, cls: type[T], node: Node, path: str, *also: str) -> T:
        """A ``cls`` of the node's entries, keys in ``also`` aside.

        Raises Undecodable where one of them is wrong.
        """
        fields = {f.encode_name: f for f in msgspec.structs.fields(cls)}
        entries = self.mapping(node, path, (*also, *fields))
        wrong = len(entries) != len(node.below())
        values: dict[str, Any] = {}
        for key, field in fields.items():
            try:
                if key in entries:
                    values[field.name] = self.value(field.type, entries[key], join(path, key))
                elif field.required:
                    raise self.fail("this key is missing", join(path, key), node.mark)
            except Undecodable:
                wrong = True
        if wrong:
            raise Undecodable
        return self._construct(cls, values, node, path)

    def _construct(self, cls: type[T], values: dict[str, Any], node: Node, path: str) -> T:
        try:
            return cls(**values)
        except ConfigError as error:
            below = error.path.split(".") if error.path else []
            raise self._below(error.reason, below, node, path) from None
        except (ValueError, TypeError) as error:
            raise self.fail(hide(str(error), node), path, node.mark) from None

    def value(self, kind: Any, node: Node, path: str) -> Any:
        """A value of the type ``kind``; Undecodable where the node holds none."""
        if path in self._faults:
            raise Undecodable
        if isinstance(node.value, str) and "\0" in node.value:
            raise self.fail("a NUL character cannot stand in a value", path, node.mark)
        plainly = bare(kind)
        if node.value is None and optional(kind):
            return None
        if is_struct(plainly):
            return self.struct(plainly, node, path)
        if plainly is Secret and isinstance(node.value, str):
            return Secret(node.filled or node.value)
        inner = items(plainly)
        if inner is not None and isinstance(node.value, list | dict):
            return self._container(kind, inner, node, path)
        if node.whole:
            return self._filled(kind, node, path)
        return self._convert(kind, node.plain(), node, path)

    def _container(self, kind: Any, inner: Any, node: Node, path: str) -> Any:
        """A list, tuple or dict, item by item, then as a whole (it may have a least length)."""
        values: dict[str, Any] = {}
        for key, below in node.below().items():
            try:
                values[key] = self.value(inner, below, join(path, key))
            except Undecodable:
                continue
        if len(values) != len(node.below()):
            raise Undecodable
        whole = values if isinstance(node.value, dict) else list(values.values())
        return self._convert(kind, whole, node, path)

    def _convert(self, kind: Any, plain: Any, node: Node, path: str) -> Any:
        try:
            return msgspec.convert(plain, kind, dec_hook=_hook, str_keys=True)
        except msgspec.ValidationError as error:
            said, below = split(str(error))
            raise self._below(reason(kind, said, plain), below, node, path) from None

    def _filled(self, kind: Any, node: Node, path: str) -> Any:
        """The type's value that a filled-in text stands for, as if it stood there plainly."""
        text = str(node.value)
        said = ""
        for plain in [text] if bare(kind) is str else [scalar(text), text]:
            try:
                value = msgspec.convert(plain, kind, strict=False, dec_hook=_hook)
            except msgspec.ValidationError as error:
                said = expected(kind, str(error))
                continue
            if not isinstance(value, float) or math.isfinite(value):
                return value
            said = "expected a finite number"
        raise self.fail(f"what is filled in here does not fit: {said}", path, node.mark)

    def _below(self, reason: str, keys: list[str], node: Node, path: str) -> Undecodable:
        """A fault at ``keys`` below ``node``, as near to it as there are marks."""
        deepest = node
        for key in keys:
            path = join(path, key)
            deepest = deepest.below().get(key, deepest)
        return self.fail(hide(reason, node), path, deepest.mark)


def hide(text: str, node: Node) -> str:
    """``text`` without anything that was filled in at or below ``node``, nor parts of it."""
    for secret in node.secrets():
        parts = {secret, *re.findall(r"\w{3,}", secret)} - {""}
        for part in sorted(parts, key=len, reverse=True):
            edges = "{}" if len(part) > 2 else r"(?<!\w){}(?!\w)"
            text = re.sub(edges.format(re.escape(part)), "…", text, flags=re.IGNORECASE)
    return text


def _hook(kind: type, plain: object) -> object:
    """The types that msgspec does not know; it checks what comes back."""
    if isinstance(plain, str) and kind in (Path, Secret):
        return kind(plain)
    return plain


def walk(node: Node, path: str = "") -> Iterator[tuple[str, Mark]]:
    """Every place at and below ``node`` with its mark; that of a key where there is one."""
    for key, below in node.below().items():
        at = join(path, key)
        yield at, node.keys.get(key, below.mark)
        yield from walk(below, at)
