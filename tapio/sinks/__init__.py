"""Where rows go, one system a file."""

from typing import TYPE_CHECKING

from tapio.lazy import lazy

if TYPE_CHECKING:
    from tapio.sinks.console import Console
    from tapio.sinks.file import File
    from tapio.sinks.otlp import Otlp
else:
    __getattr__ = lazy(__name__, {"Console": ".console", "File": ".file", "Otlp": ".otlp"})

__all__ = ["Console", "File", "Otlp"]
