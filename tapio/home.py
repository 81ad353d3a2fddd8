"""``~`` at the beginning of a path that somebody wrote."""

from __future__ import annotations

from pathlib import Path

from tapio.model.errors import ConfigError


def expanded(text: str, *, path: str = "") -> Path:
    """``text`` as a path, ``~`` being the user's home.

    Raises ConfigError (for the config's ``path``) where nobody can tell whose home that is: in
    a container a process may have a user id without a name, and no HOME.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError:
        said = f"{text} is in no home that can be found; set HOME, or write the path in full"
        raise ConfigError(said, path=path) from None
