"""Which stages there are: found through entry points, the built-in ones as everybody's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

import pyarrow as pa

from tapio.model.errors import ConfigError, TapioError
from tapio.model.stage import Batching, Enrich, Sample, Sink, Source, Spec, Step

KINDS: Mapping[str, type[Spec]] = MappingProxyType(
    {
        "source": Source,
        "enrich": Enrich,
        "sample": Sample,
        "batch": Batching,
        "step": Step,
        "sink": Sink,
    }
)
"""The kinds of stages, and what a stage of each must be a subclass of."""

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "source": "tapio.sources",
        "enrich": "tapio.enrichers",
        "sample": "tapio.samplers",
        "batch": "tapio.batchers",
        "step": "tapio.steps",
        "sink": "tapio.sinks",
    }
)
"""The entry point group of each kind."""

_TAG = re.compile(r"[a-z][a-z0-9_]*")
_IMPORT_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TapioError,
    TypeError,
    ValueError,
    pa.ArrowException,
)
"""What the top level of somebody else's module may raise; it must not take ours down."""


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where one of ``known`` is close to ``word``, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


class Registry:
    """Spec classes by kind and tag. An explicit value: tests and applications make their own.

    A class named by an entry point is imported when it is first asked for, so that a
    pipeline pays for the stages that it uses only.
    """

    def __init__(self) -> None:
        self._classes: dict[tuple[str, str], type[Spec]] = {}
        self._doors: dict[tuple[str, str], list[EntryPoint]] = {}

    @classmethod
    def installed(cls) -> Registry:
        """All that the installed distributions offer, nothing of it imported yet."""
        registry = cls()
        found = entry_points()
        for kind, group in GROUPS.items():
            for door in found.select(group=group):
                doors = registry._doors.setdefault((kind, door.name), [])
                if door.value not in (d.value for d in doors):
                    doors.append(door)
        return registry

    def add(self, kind: str, spec_class: type[Spec]) -> None:
        """Offer ``spec_class`` under its tag; ConfigError where it cannot be a ``kind``."""
        tag = str(spec_class.__struct_config__.tag)
        _check(kind, tag, spec_class)
        if (kind, tag) in self._classes or (kind, tag) in self._doors:
            raise ConfigError(f"there is a {kind} called {tag!r} already; give it another tag")
        self._classes[kind, tag] = spec_class

    def names(self, kind: str) -> tuple[str, ...]:
        """The tags of a kind, sorted; nothing is imported."""
        every = self._classes.keys() | self._doors.keys()
        return tuple(sorted(tag for k, tag in every if k == kind))

    def get(self, kind: str, tag: str) -> type[Spec]:
        """The class called ``tag``.

        Raises ConfigError: there is none (the sentence names near matches, and the kind that
        does have it), or its plugin is broken (the sentence names the plugin).
        """
        if (kind, tag) not in self._classes:
            self._classes[kind, tag] = self._load(kind, tag)
        return self._classes[kind, tag]

    def all(self, kind: str) -> dict[str, type[Spec]]:
        """Every class of a kind that can be loaded, by tag; ``broken`` has the others."""
        loaded = {}
        for tag in self.names(kind):
            try:
                loaded[tag] = self.get(kind, tag)
            except ConfigError:
                continue
        return loaded

    def broken(self) -> tuple[ConfigError, ...]:
        """One error for each stage that cannot be loaded; it names the plugin."""
        errors = []
        for kind in KINDS:
            for tag in self.names(kind):
                try:
                    self.get(kind, tag)
                except ConfigError as error:
                    errors.append(error)
        return tuple(errors)

    def _load(self, kind: str, tag: str) -> type[Spec]:
        doors = self._doors.get((kind, tag))
        if not doors:
            raise ConfigError(self._unknown(kind, tag))
        if len(doors) > 1:
            who = " and ".join(sorted(_plugin(d) for d in doors))
            raise ConfigError(f"{kind} {tag!r} is offered by {who}; uninstall one of them")
        try:
            found = doors[0].load()
        except _IMPORT_FAILURES as error:
            why = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"{kind} {tag!r} of {_plugin(doors[0])} cannot be loaded: {why}"
            ) from error
        _check(kind, tag, found, _plugin(doors[0]))
        return found  # type: ignore[no-any-return]  # checked in the line above

    def _unknown(self, kind: str, tag: str) -> str:
        elsewhere = [k for k in KINDS if tag in self.names(k)]
        if elsewhere:
            return f"{tag!r} is no {kind}, it is a {elsewhere[0]}; move it there"
        known = self.names(kind)
        hint = nearest(tag, known)
        return f"there is no {kind} {tag!r}{hint or '; there are: ' + (', '.join(known) or 'none')}"


def _plugin(door: EntryPoint) -> str:
    """The distribution behind an entry point, as an operator knows it."""
    return f"plugin {door.dist.name!r}" if door.dist else f"entry point {door.value!r}"


def _check(kind: str, tag: str, found: object, plugin: str = "") -> None:
    """ConfigError where ``found`` cannot be the ``kind`` called ``tag``."""
    if kind not in KINDS:
        raise ConfigError(f"there is no kind {kind!r}; the kinds are {', '.join(KINDS)}")
    needed = KINDS[kind]
    whose = f" of {plugin}" if plugin else ""
    if not (isinstance(found, type) and issubclass(found, needed)):
        raise ConfigError(f"{kind} {tag!r}{whose} is not a subclass of {needed.__name__}")
    if not _TAG.fullmatch(tag):
        raise ConfigError(f"{kind} {tag!r}{whose} must have a tag such as 'my_{kind}'")
    if found.__struct_config__.tag != tag:
        raise ConfigError(f"{kind} {tag!r}{whose} must be declared with tag={tag!r}")
