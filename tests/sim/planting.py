"""How a bug is planted: one function of the engine is replaced while a context is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

Real = Callable[..., Any]
"""What stands in the engine; a plant makes something else of it."""

PLANTS: dict[str, Callable[[], Any]] = {}


def plant(where: Any, name: str) -> Callable[[Callable[[Real], Real]], Callable[[Real], Real]]:
    """Register a plant: ``where.name`` becomes what the decorated function makes of it."""

    def register(make: Callable[[Real], Real]) -> Callable[[Real], Real]:
        PLANTS[make.__name__] = lambda: patch.object(where, name, make(vars(where)[name]))
        return make

    return register


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The engine with the bug ``name``."""
    with PLANTS[name]():
        yield


def seldom(every: int) -> Callable[[], bool]:
    """True once in so many calls."""
    calls = 0

    def now() -> bool:
        nonlocal calls
        calls += 1
        return calls % every == 0

    return now
