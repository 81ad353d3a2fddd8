"""``rename``: gives columns, or their OpenTelemetry attributes, other names."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import msgspec

from tapio.model.batch import Batch
from tapio.model.errors import SchemaError
from tapio.model.schema import COMMON, ENTITY, WEIGHT, Field, Schema, matches
from tapio.model.stage import Context, Step, Transform

FIXED = frozenset(field.name for field in (*COMMON, ENTITY, WEIGHT))
"""Names that the pipeline itself goes by: neither given nor taken away."""

_SCHEMAS = 256
"""Renamed schemas remembered: a pipeline has a few dozen."""


class Rename(Step, frozen=True, tag="rename"):
    """Renames columns (``columns``: old to new) and attributes (``attributes``: column to name).

    Both go by the column names that come in. A column without an attribute name of its own
    takes its new name for it. All happen at once, so two columns may swap their names.
    Without ``topic`` a topic that lacks a column passes that one by. With ``topic`` (observers
    or topics) only those are changed, and they must have the columns: SchemaError otherwise,
    and wherever a new name is taken already.
    """

    columns: dict[str, str] = msgspec.field(default_factory=dict)
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    topic: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.columns and not self.attributes:
            raise ValueError("rename needs columns, attributes, or both")
        named = {*self.columns, *self.columns.values(), *self.attributes}
        if fixed := FIXED & named:
            raise ValueError(f"column {min(fixed)!r} has a meaning of its own; use another name")
        if "" in named or "" in self.attributes.values():
            raise ValueError("a name cannot be empty")

    def start(self, cx: Context) -> Transform:
        """Start it; the Transform shares all columns and raises SchemaError, see above."""
        renamed = lru_cache(_SCHEMAS)(self._schema)

        def rename(batch: Batch) -> Batch:
            if self.topic and not matches(batch.topic, self.topic):
                return batch
            schema = renamed(batch.schema)
            pairs = zip(batch.schema.fields, schema.fields, strict=True)
            columns = {new.name: batch[old.name] for old, new in pairs}
            return Batch(schema, columns, batch.entities)

        return rename

    def _schema(self, schema: Schema) -> Schema:
        if self.topic:
            for name in (*self.columns, *self.attributes):
                schema[name]  # raises, naming the columns that there are
        fields = tuple(self._field(field) for field in schema.fields)
        names = [field.name for field in fields]
        for name in names:
            if names.count(name) > 1:
                raise SchemaError(
                    f"topic {schema.topic} has a column {name!r} already; drop it or rename it too"
                )
        return replace(schema, fields=fields)

    def _field(self, field: Field) -> Field:
        name = self.columns.get(field.name, field.name)
        return replace(field, name=name, attribute=self.attributes.get(field.name, field.attribute))
