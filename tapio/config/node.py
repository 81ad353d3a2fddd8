"""``Node``: a value of a configuration, and where it was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from tapio.model.errors import ConfigError

Scalar: TypeAlias = str | int | float | bool | None


class Mark(NamedTuple):
    """A place: ``line`` counts from 1, 0 where there are no lines (``--set``)."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Node:
    """One value, still untyped.

    ``filled`` is set on a text that a ``${…}`` stood in: it gives the text of now, and no
    message may show it. ``whole`` says that nothing else stood there, so that the text may
    become a number.
    """

    value: Scalar | list[Node] | dict[str, Node]
    mark: Mark
    keys: dict[str, Mark] = field(default_factory=dict)
    filled: Callable[[], str] | None = field(default=None, repr=False)
    whole: bool = False

    def below(self) -> dict[str, Node]:
        """The nodes below, by key or index; none below a scalar."""
        if isinstance(self.value, list):
            return {str(i): n for i, n in enumerate(self.value)}
        return self.value if isinstance(self.value, dict) else {}

    def plain(self) -> Any:
        """The value without its marks."""
        if isinstance(self.value, dict):
            return {k: n.plain() for k, n in self.value.items()}
        if isinstance(self.value, list):
            return [n.plain() for n in self.value]
        return self.value

    def secrets(self) -> Iterator[str]:
        """The texts at or below this node that were filled in."""
        if self.filled is not None:
            yield str(self.value)
        for node in self.below().values():
            yield from node.secrets()


def join(path: str, key: str) -> str:
    """The path of ``key`` below ``path``: ``sample.0.target_per_s``."""
    return f"{path}.{key}" if path else key


class ConfigErrors(ConfigError):
    """All that is wrong with a configuration; place and reason are those of the first."""

    def __init__(self, errors: tuple[ConfigError, ...]) -> None:
        first = errors[0]
        super().__init__(first.reason, path=first.path, file=first.file, line=first.line)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(str(e) for e in self.errors)


class Faults:
    """Gathers errors, so that a file's are all reported at once, each place's first only."""

    def __init__(self) -> None:
        self._by_path: dict[str, ConfigError] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._by_path

    def add(self, reason: str, path: str, mark: Mark) -> None:
        """Note what is wrong at ``path``."""
        error = ConfigError(reason, path=path, file=mark.file, line=mark.line)
        self._by_path.setdefault(path, error)

    def check(self) -> None:
        """Raise what was noted: one ConfigError, or ConfigErrors in the order of the lines."""
        if self._by_path:
            ordered = tuple(sorted(self._by_path.values(), key=lambda e: (e.file, e.line)))
            raise ordered[0] if len(ordered) == 1 else ConfigErrors(ordered)
