"""Samplers: stages that keep some rows, one rule a file."""

from typing import TYPE_CHECKING

from tapio.lazy import lazy

if TYPE_CHECKING:
    from tapio.sample.adaptive import Adaptive
    from tapio.sample.head import Head
    from tapio.sample.priority import Priority
else:
    __getattr__ = lazy(
        __name__, {"Adaptive": ".adaptive", "Head": ".head", "Priority": ".priority"}
    )

__all__ = ["Adaptive", "Head", "Priority"]
