"""What a stage's code says of it: its sentence, and its fields with types, units and defaults."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec

from tapio.config.annotation import bare, choices, is_struct, items, optional
from tapio.config.node import join
from tapio.model.secret import Secret
from tapio.model.stage import Spec
from tapio.registry import KINDS

UNITS = {
    "rows_per_s": "rows a second",
    "bytes_per_s": "bytes a second",
    "_per_s": "a second",
    "_s": "seconds",
    "_ms": "milliseconds",
    "_ns": "nanoseconds",
    "bytes": "bytes",
    "rows": "rows",
}
"""Units stand last in a name."""

_NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path"}


class Setting(NamedTuple):
    """One field of a stage. ``default`` is None where it must be given."""

    name: str
    type: str
    unit: str
    default: Any
    required: bool
    doc: str
    shared: bool
    """Whether every stage of its kind has it."""


def sentence(spec: type[Spec]) -> str:
    """The first sentence of a stage's docstring."""
    first = " ".join(document(spec).partition("\n\n")[0].split())
    return re.split(r"(?<=[.?!]) (?=[A-Z])", first)[0]


def document(spec: type) -> str:
    """The docstring of a class as plain text; empty where it has none of its own."""
    return inspect.cleandoc(spec.__dict__.get("__doc__") or "").replace("``", "`")


def settings(spec: type[Spec]) -> list[Setting]:
    """The fields of a stage, its own first; a group's as ``retry.max_s``."""
    kind = next(kind for kind in KINDS.values() if issubclass(spec, kind))
    shared = frozenset(kind.__struct_fields__)
    return sorted(_settings(spec, "", shared), key=lambda setting: setting.shared)


def _settings(cls: type[msgspec.Struct], path: str, shared: frozenset[str]) -> Iterator[Setting]:
    docs = _docs(cls)
    for field in msgspec.structs.fields(cls):
        at = join(path, field.encode_name)
        own = path.partition(".")[0] or field.name
        if is_struct(field.type):
            yield from _settings(field.type, at, shared)
            continue
        yield Setting(
            at,
            type_name(field.type),
            unit(field.encode_name),
            None if field.required else _plain(_default(field)),
            field.required,
            _meta(field.type) or docs.get(field.name, ""),
            own in shared,
        )


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _plain(value: Any) -> Any:
    """A default as JSON has it."""
    return msgspec.to_builtins(value, enc_hook=str)


def _meta(kind: Any) -> str:
    """The description in a field's ``msgspec.Meta``."""
    if get_origin(kind) is not Annotated:
        return ""
    said = (getattr(m, "description", None) for m in get_args(kind)[1:])
    return next(filter(None, said), "")


def type_name(kind: Any) -> str:
    """A type in an operator's words, with its bounds: ``whole number, at least 1``."""
    return ", ".join([_bare_name(kind), *_bounds(kind)]) + (" or null" if optional(kind) else "")


def _bare_name(kind: Any) -> str:
    plain = bare(kind)
    if choices(plain):
        return " | ".join(choices(plain))
    if is_struct(plain):
        return "keys " + ", ".join(plain.__struct_encode_fields__)
    origin, inner = get_origin(plain), items(plain)
    if origin is dict:
        return f"keys with {_bare_name(get_args(plain)[1])}"
    if inner is not None:
        return f"list of {_bare_name(inner)}"
    if plain is Secret:
        return "text, kept secret"
    if get_args(plain):
        return " or ".join(_bare_name(a) for a in get_args(plain) if a is not type(None))
    return _NAMES.get(plain, getattr(plain, "__name__", str(plain)))


def _bounds(kind: Any) -> Iterator[str]:
    """The constraints in a field's ``msgspec.Meta``."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    words |= {"min_length": "length at least", "max_length": "length at most"}
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    for annotated in (kind, *members):
        for meta in get_args(annotated)[1:] if get_origin(annotated) is Annotated else ():
            for name, word in words.items():
                if getattr(meta, name, None) is not None:
                    yield f"{word} {getattr(meta, name):g}"


def unit(name: str) -> str:
    """The unit that ends a field's name; empty where none does."""
    return next((said for end, said in UNITS.items() if name.endswith(end)), "")


@lru_cache(maxsize=256)
def _docs(spec: type) -> dict[str, str]:
    """The text below each field, in the source of the class and of those it is made of."""
    docs: dict[str, str] = {}
    for cls in reversed(spec.__mro__):
        if issubclass(cls, msgspec.Struct):
            docs |= dict(_class_docs(cls))
    return docs


def _class_docs(cls: type) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return  # made at a prompt, or shipped without its source
    body = getattr(tree.body[0], "body", [])
    for one, next_ in pairwise(body):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            value = getattr(next_, "value", None)
            if isinstance(next_, ast.Expr) and isinstance(value, ast.Constant):
                yield one.target.id, " ".join(str(value.value).replace("``", "`").split())
