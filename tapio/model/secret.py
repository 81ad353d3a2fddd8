"""``Secret``: a text that is used but never shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

HIDDEN = "[secret]"
"""What stands for a secret wherever something is printed."""


@final
class Secret:
    """A text that no message, log or repr shows; ``reveal()`` where it goes on the wire.

    ``source`` is the text itself, or a callable that gives the text of now: reveal at each
    use, and a secret that was rotated is used from then on. Two secrets are equal where
    their sources are. A spec may hold them anywhere (``dict[str, Secret]``); in a config file
    they are written as text.
    """

    __slots__ = ("_source",)

    def __init__(self, source: str | Callable[[], str]) -> None:
        self._source = source

    def reveal(self) -> str:
        """The text as it is now; raises what the source raises (a file's: ConfigError)."""
        return self._source if isinstance(self._source, str) else self._source()

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._source == other._source

    def __hash__(self) -> int:
        return hash(self._source)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialised")
