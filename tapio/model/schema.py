"""What a batch's columns are called, hold and mean: ``Field`` and ``Schema``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa

from tapio.model.errors import SchemaError

NUMBERS = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
)
"""Types that are held as a numpy array of that dtype."""

TEXT: Mapping[str, pa.DataType] = {
    "text": pa.dictionary(pa.int32(), pa.string()),
    "string": pa.string(),
    "binary": pa.binary(),
}
"""Types that are held as a pyarrow array: coded text (few distinct values), text, bytes."""

_TOPIC = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


@dataclass(frozen=True, slots=True)
class Field:
    """One column's description.

    ``type`` is one of ``NUMBERS`` or ``TEXT``; ``unit`` is UCUM (``ns``, ``By``);
    ``attribute`` is the OpenTelemetry attribute name, by default the column's own.
    """

    name: str
    type: str
    unit: str = ""
    attribute: str = ""
    doc: str = ""

    def __post_init__(self) -> None:
        if self.type not in NUMBERS and self.type not in TEXT:
            known = ", ".join((*NUMBERS, *TEXT))
            raise SchemaError(f"column {self.name!r} has type {self.type!r}; use one of {known}")

    @property
    def dtype(self) -> np.dtype[np.generic] | None:
        """The numpy dtype of a number, None for text and bytes."""
        return np.dtype(self.type) if self.type in NUMBERS else None

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of the column."""
        return TEXT[self.type] if self.type in TEXT else pa.from_numpy_dtype(np.dtype(self.type))

    @property
    def otel(self) -> str:
        """The OpenTelemetry attribute name."""
        return self.attribute or self.name


TIME = Field("time_ns", "int64", "ns", doc="Wall clock time of the event, since 1970.")
SEQ = Field("seq", "uint64", attribute="tapio.seq", doc="Position in the topic's sequence.")
SEVERITY = Field("severity", "uint8", doc="OpenTelemetry SeverityNumber, 1 to 24; 0 unknown.")
ENTITY = Field("entity", "int32", doc="Code in the batch's entity table; -1 unknown.")
WEIGHT = Field("weight", "float64", attribute="tapio.weight", doc="1 / probability of being kept.")
COMMON = (TIME, SEQ, SEVERITY)
"""The columns that every batch has, set by the source."""

INFO, WARN, ERROR = 9, 13, 17
"""OpenTelemetry SeverityNumbers: from ``ERROR`` on a row is never sampled out and goes last."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A topic and its columns, in order. Make one with ``Schema.of``.

    A topic is ``observer.record`` (``process.exec``); naming an observer alone
    (``process``) means all its topics, see ``matches``.
    """

    topic: str
    fields: tuple[Field, ...]
    _by_name: dict[str, Field] = field(init=False, repr=False, compare=False, hash=False)
    _hash: int = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        if not _TOPIC.fullmatch(self.topic):
            raise SchemaError(f"topic {self.topic!r} is not lower-case words joined by dots")
        by_name = {f.name: f for f in self.fields}
        if len(by_name) != len(self.fields):
            raise SchemaError(f"topic {self.topic} names a column twice")
        object.__setattr__(self, "_by_name", by_name)
        object.__setattr__(self, "_hash", hash((self.topic, self.fields)))

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def of(cls, topic: str, *fields: Field) -> Schema:
        """The schema of ``topic``: the common columns, then ``fields``."""
        return cls(topic, COMMON + tuple(f for f in fields if f not in COMMON))

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Field:
        """The field called ``name``; SchemaError, naming what there is, if there is none."""
        try:
            return self._by_name[name]
        except KeyError:
            names = ", ".join(self._by_name)
            raise SchemaError(
                f"topic {self.topic} has no column {name!r}; it has {names}"
            ) from None

    def extended(self, fields: Iterable[Field]) -> Schema:
        """This schema with ``fields`` added, or put in place of those of the same name."""
        return _extended(self, tuple(fields))

    def without(self, names: Iterable[str]) -> Schema:
        """This schema without the columns ``names``; the common ones cannot go."""
        gone = frozenset(names)
        for name in gone:
            if self[name] in COMMON:
                raise SchemaError(f"column {name!r} belongs to every batch and cannot be dropped")
        return replace(self, fields=tuple(f for f in self.fields if f.name not in gone))


@lru_cache(maxsize=1024)
def _extended(schema: Schema, fields: tuple[Field, ...]) -> Schema:
    """Cached: stages extend the same few schemas at every batch."""
    new = {f.name: f for f in fields}
    kept = tuple(new.pop(f.name, f) for f in schema.fields)
    return Schema(schema.topic, kept + tuple(new.values()))


def matches(topic: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern names ``topic``, exactly or by its observer (``process``)."""
    return any(topic == p or topic.startswith(p + ".") for p in patterns)
