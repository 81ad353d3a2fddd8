"""Batchers: stages that gather rows, one rule a file."""

from typing import TYPE_CHECKING

from tapio.lazy import lazy

if TYPE_CHECKING:
    from tapio.batch.by import By
else:
    __getattr__ = lazy(__name__, {"By": ".by"})

__all__ = ["By"]
