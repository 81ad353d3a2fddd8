"""Steps: stages that change or remove rows, one rule a file."""

from typing import TYPE_CHECKING

from tapio.lazy import lazy

if TYPE_CHECKING:
    from tapio.steps.drop import Drop
    from tapio.steps.filter import Filter
    from tapio.steps.redact import Redact
    from tapio.steps.rename import Rename
else:
    __getattr__ = lazy(
        __name__, {"Drop": ".drop", "Filter": ".filter", "Redact": ".redact", "Rename": ".rename"}
    )

__all__ = ["Drop", "Filter", "Redact", "Rename"]
