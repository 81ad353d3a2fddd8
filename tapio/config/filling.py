"""``${…}``: filled in after the YAML is parsed, so that no value can change its shape.

    ${NAME}             the environment variable; an error where it is not set
    ${NAME:-default}    the default where it is not set, or empty
    ${file:/path}       the file's text, less one newline at its end
    $${                 a plain ${

What was filled in is shown by no message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from tapio.config.node import Faults, Node, join
from tapio.model.errors import ConfigError

MAX_FILE_BYTES = 64 << 10
"""The most bytes of a filled-in file: a certificate chain has some 10 KiB."""

_HOLE = re.compile(r"\$\$\{|\$\{(?P<inside>[^}]*)(?P<end>\}?)")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>.*))?", re.DOTALL)


@dataclass(slots=True)
class FileText:
    """The text of a file as it is now: read again when its inode, size or time changes.

    Where a later read fails (a rotation is under way) the last text stands.
    """

    path: Path
    _seen: tuple[int, ...] = field(default=(), compare=False)
    _text: str = field(default="", repr=False, compare=False)

    def __call__(self) -> str:
        """The text; ConfigError where it cannot be read and never was."""
        try:
            stat = self.path.stat()
            seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if seen != self._seen:
                self._text = self._read()
                self._seen = seen
        except OSError as error:
            self._keep(error.strerror or "it cannot be read")
        except UnicodeDecodeError:
            self._keep("it is not UTF-8")
        return self._text

    def __hash__(self) -> int:
        return hash(self.path)

    def _read(self) -> str:
        with self.path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            self._keep(f"it has more than {MAX_FILE_BYTES >> 10} KiB")
            return self._text
        return content.decode().removesuffix("\n").removesuffix("\r")

    def _keep(self, why: str) -> None:
        if not self._seen:
            raise ConfigError(f"${{file:{self.path}}} cannot be filled in: {why}")


Part: TypeAlias = str | FileText


@dataclass(frozen=True, slots=True)
class Filled:
    """A text put together from its parts, anew each time it is asked for."""

    parts: tuple[Part, ...] = field(repr=False)

    def __call__(self) -> str:
        """The text as it is now."""
        return "".join(p if isinstance(p, str) else p() for p in self.parts)


def fill(node: Node, environ: Mapping[str, str], faults: Faults, path: str = "") -> Node:
    """``node`` with every ``${…}`` in its texts filled in; what cannot be goes to ``faults``."""
    if isinstance(node.value, dict):
        filled = {k: fill(n, environ, faults, join(path, k)) for k, n in node.value.items()}
        return replace(node, value=filled)
    if isinstance(node.value, list):
        each = enumerate(node.value)
        return replace(node, value=[fill(n, environ, faults, join(path, str(i))) for i, n in each])
    if not isinstance(node.value, str) or "${" not in node.value:
        return node
    try:
        return _fill_text(node, node.value, environ)
    except ConfigError as error:
        faults.add(error.reason, path, node.mark)
        return node


def _fill_text(node: Node, text: str, environ: Mapping[str, str]) -> Node:
    parts = _parts(text, lambda inside: _look_up(inside, environ))
    if all(m[0] == "$${" for m in _HOLE.finditer(text)):
        return replace(node, value="".join(map(str, parts)))
    whole = _HOLE.fullmatch(text) is not None
    source = Filled(parts)
    return replace(node, value=source(), filled=source, whole=whole)


def _parts(text: str, look_up: Callable[[str], Part]) -> tuple[Part, ...]:
    parts: list[Part] = []
    at = 0
    for hole in _HOLE.finditer(text):
        parts.append(text[at : hole.start()])
        at = hole.end()
        if hole[0] == "$${":
            parts.append("${")
        elif not hole["end"]:
            raise ConfigError("a ${ is never closed; write $${ where it is meant as it stands")
        else:
            parts.append(look_up(hole["inside"]))
    return (*parts, text[at:])


def _look_up(inside: str, environ: Mapping[str, str]) -> Part:
    """What ``${inside}`` stands for; ConfigError where it stands for nothing."""
    if inside.startswith("file:"):
        path = Path(inside.removeprefix("file:"))
        if not path.is_absolute():
            raise ConfigError(f"${{{inside}}} needs an absolute path: ${{file:/path}}")
        return FileText(path)
    said = _NAME.fullmatch(inside)
    if said is None:
        odd = inside.partition(":-")[0]
        raise ConfigError(f"${{{odd}}} is none of ${{NAME}}, ${{NAME:-default}}, ${{file:/path}}")
    name, default = said["name"], said["default"]
    if "${" in (default or ""):
        raise ConfigError("a ${…} cannot stand inside another")
    if not environ.get(name) and default is not None:
        return default
    if name not in environ:
        raise ConfigError(f"{name} is not set; set it, or write ${{{name}:-default}}")
    if _is_broken(environ[name]):
        raise ConfigError(f"{name} is not UTF-8; set it anew")
    return environ[name]


def _is_broken(text: str) -> bool:
    """Whether ``text`` holds bytes of the environment that were no UTF-8."""
    return any("\ud800" <= c <= "\udfff" for c in text)
