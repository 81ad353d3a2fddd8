"""The pipelines that come with Tapio: config files like anybody's."""

from __future__ import annotations

from pathlib import Path

from tapio.model.errors import ConfigError
from tapio.registry import nearest

FOLDER = Path(__file__).parent.parent / "profiles"


def names() -> tuple[str, ...]:
    """The profiles there are, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def profile(name: str) -> Path:
    """The file of a profile; ConfigError where there is none of that name."""
    if name not in names():
        hint = nearest(name, names()) or f"; there are: {', '.join(names())}"
        raise ConfigError(f"there is no profile {name!r}{hint}")
    return FOLDER / f"{name}.yaml"
