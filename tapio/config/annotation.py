"""What a field's annotation says, asked in the few ways that the configuration needs."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

import msgspec


def bare(kind: Any) -> Any:
    """``kind`` without its constraints and without None; a wider union as it is."""
    if get_origin(kind) is Annotated:
        return bare(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        others = [a for a in get_args(kind) if a is not type(None)]
        return bare(others[0]) if len(others) == 1 else kind
    return kind


def optional(kind: Any) -> bool:
    """Whether None is one of its values."""
    if get_origin(kind) is Annotated:
        return optional(get_args(kind)[0])
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


def is_struct(kind: Any) -> TypeGuard[type[msgspec.Struct]]:
    """Whether it is a struct that is told from others by its place alone."""
    found = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return found and kind.__struct_config__.tag is None


def items(kind: Any) -> Any:
    """The type of each item of a list, a tuple of any length or a dict of texts, else None."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is list or (origin is tuple and len(inner) == 2 and inner[1] is ...):
        return inner[0]
    if isinstance(origin, type) and issubclass(origin, Mapping) and inner[0] is str:
        return inner[1]
    return None


def choices(kind: Any) -> tuple[str, ...]:
    """The texts that a Literal allows, none for another type."""
    literal = bare(kind)
    return tuple(map(str, get_args(literal))) if get_origin(literal) is Literal else ()
