"""``--set path=value``: a value put into the tree before it is decoded.

Keys and item numbers are joined by dots: ``sample.0.target_per_s=1000``. A lone stage counts
as item 0, what is missing is made, and the number after the last appends. The value is YAML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tapio.config.node import Faults, Mark, Node, join
from tapio.config.reading import MAX_DEPTH, read
from tapio.model.errors import ConfigError

_MARK = Mark("--set", 0)
_MISSING = Node(None, _MARK)


def override(root: Node, overrides: Sequence[str], faults: Faults) -> Node:
    """``root`` with each of ``overrides`` put in, in turn; what cannot be goes to ``faults``."""
    for text in overrides:
        path, equals, value = text.partition("=")
        try:
            keys = path.split(".")
            if not equals or not path or len(keys) > MAX_DEPTH:
                raise ConfigError("say path=value, such as sample.0.target_per_s=1000")
            root = _put(root, keys, _value(value, faults), "")
        except ConfigError as error:
            faults.add(error.reason, path, _MARK)
    return root


def _value(text: str, faults: Faults) -> Node:
    """The value that ``text`` says, all of it marked as an override's."""
    node = read(text, _MARK.file, faults)
    return _MISSING if node is None else _marked(node)


def _marked(node: Node) -> Node:
    if isinstance(node.value, dict):
        values = {k: _marked(n) for k, n in node.value.items()}
        return Node(values, _MARK, dict.fromkeys(values, _MARK))
    if isinstance(node.value, list):
        return Node([_marked(n) for n in node.value], _MARK)
    return Node(node.value, _MARK)


def _put(node: Node, keys: list[str], new: Node, path: str) -> Node:
    """``node`` with ``new`` at ``keys`` below it."""
    if not keys:
        return new
    key, *rest = keys
    lone = isinstance(node.value, dict) and "." not in path and path != ""
    if key.isdecimal() and len(key) < 10 and (lone or not isinstance(node.value, dict)):
        return _put_item(node, int(key), rest, new, path)
    if isinstance(node.value, list):
        raise ConfigError(f"{path} is a list; name an item, such as {join(path, '0')}")
    if not isinstance(node.value, dict) and node.value is not None:
        raise ConfigError(f"{path} is a single value; there is nothing below it")
    values = dict(node.value or {})
    values[key] = _put(values.get(key, _MISSING), rest, new, join(path, key))
    return replace(node, value=values, keys=node.keys | {key: _MARK})


def _put_item(node: Node, index: int, rest: list[str], new: Node, path: str) -> Node:
    items = node.value if isinstance(node.value, list) else [node] * (node.value is not None)
    if index > len(items):
        raise ConfigError(f"{path} has {len(items)} items; the next is {len(items)}")
    old = items[index] if index < len(items) else _MISSING
    put = _put(old, rest, new, join(path, str(index)))
    return Node([*items[:index], put, *items[index + 1 :]], node.mark)
