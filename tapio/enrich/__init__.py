"""Stages that add columns, one system a file."""

from typing import TYPE_CHECKING

from tapio.lazy import lazy

if TYPE_CHECKING:
    from tapio.enrich.cgroup import Cgroup
else:
    __getattr__ = lazy(__name__, {"Cgroup": ".cgroup"})

__all__ = ["Cgroup"]
