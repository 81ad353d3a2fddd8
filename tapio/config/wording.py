"""What is wrong with a value, in an operator's words instead of msgspec's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tapio.config.annotation import choices
from tapio.model.secret import Secret
from tapio.registry import nearest

_AT = re.compile(r" - at `\$(?P<at>[^`]*)`$")
_KEY = re.compile(r"\.?([^.\[\]]+)")
_NAMED = re.compile(r"`([^`]*)`")
_PLAINLY: Mapping[str, str] = {
    "array": "list",
    "bool": "true or false",
    "float": "number",
    "int": "whole number",
    "null": "nothing",
    "object": "keys and values",
    "str": "text",
    Secret.__name__: "text",
}
"""How an operator calls the types that msgspec names."""


def split(said: str) -> tuple[str, list[str]]:
    """The sentence that msgspec says, and the keys of the place that it names."""
    at = _AT.search(said)
    if at is None:
        return said, []
    return said[: at.start()], _KEY.findall(at["at"])


def expected(kind: Any, said: str) -> str:
    """What would fit, without what was there."""
    if choices(kind):
        return "expected one of " + ", ".join(choices(kind))
    wanted = _plainly(split(said)[0]).partition(", got")[0]
    return wanted if wanted.startswith("expected") else "another value"


def reason(kind: Any, said: str, plain: object) -> str:
    """Why ``plain`` is no ``kind``; ``said`` is what msgspec said."""
    allowed = choices(kind)
    if allowed and isinstance(plain, str):
        return f"{plain!r} is not one of {', '.join(allowed)}{nearest(plain, allowed)}"
    quote = (
        "; put it in quotes" if "Expected `str`" in said and isinstance(plain, int | float) else ""
    )
    return _plainly(said) + quote


def _plainly(said: str) -> str:
    """A sentence of msgspec's in an operator's words."""
    plain = _NAMED.sub(lambda m: " or ".join(_words(m[1])), said)
    return plain[0].lower() + plain[1:]


def _words(kinds: str) -> list[str]:
    """The types of a union (``array | null``); null is not worth saying beside others."""
    names = kinds.split(" | ")
    return [_PLAINLY.get(n, n) for n in names if n != "null" or len(names) == 1]
