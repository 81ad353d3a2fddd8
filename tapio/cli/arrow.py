"""Pyarrow without pandas, for a process that has no use for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pyarrow as pa


class _NoPandas(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is not wanted here", name=name)
        return None


def forgo_pandas() -> None:
    """Let pyarrow believe that pandas is not installed, unless it is imported already.

    The first ``pa.array`` imports pandas where it can, to recognise a Series: 0.5 s and 40 MiB
    for nothing. Pyarrow asks once; a plugin can still import pandas itself.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array(())
    finally:
        sys.meta_path.remove(finder)
