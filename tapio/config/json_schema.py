"""The JSON Schema (draft 2020-12) of configuration files, of all stages that are installed.

A value that is no text may be written ``${…}`` as well, so each such place takes both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tapio.config.document import QUALIFIED, SECTIONS, Name
from tapio.config.node import join
from tapio.model.policy import Settings
from tapio.model.secret import Secret
from tapio.registry import Registry

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_FILLED = {
    "title": "Filled in",
    "description": "${NAME}, ${NAME:-default} or ${file:/path}: filled in, then converted.",
    "type": "string",
    "pattern": r"^\$\{[^}]*\}$",
}
_ABOUT = {
    "sources": "Where rows come from.",
    "enrich": "Stages that add columns.",
    "sample": "Stages that keep some rows and weigh them.",
    "batch": "Stages that gather rows.",
    "steps": "Stages of any kind, in order; those of other sections as `batch.by`.",
    "sinks": "Where rows go; each gets all rows that its `when` chooses.",
}


def schema(registry: Registry) -> dict[str, Any]:
    """The schema; stages that cannot be loaded are left out."""
    stages = dict(_stages(registry))
    classes = list(dict.fromkeys(stages.values()))
    reference = "#/$defs/{name}"
    named, shared = msgspec.json.schema_components(
        [*classes, Settings, Name], schema_hook=_hook, ref_template=reference
    )
    names = {c: n["$ref"].rpartition("/")[2] for c, n in zip(classes, named, strict=False)}
    definitions = {n: d for n, d in shared.items() if n not in names.values()}
    for written, spec in stages.items():
        definitions[written] = _stage(shared[names[spec]], written)
    properties = {
        "pipeline": named[-1] | {"description": "What the pipeline is called."},
        **{section: _section(section, stages) for section in SECTIONS},
        "settings": named[-2],
    }
    return {
        "$schema": DRAFT,
        "title": "Tapio pipeline",
        "type": "object",
        "properties": properties,
        "required": ["sources", "sinks"],
        "additionalProperties": False,
        "$defs": {"filled": _FILLED, **_fillable(definitions)},
    }


def _stages(registry: Registry) -> Iterator[tuple[str, type]]:
    """(definition's name, class): ``sinks.otlp``, and ``steps.batch.by`` for a qualified one."""
    for section, kind in SECTIONS.items():
        for tag, spec in registry.all(kind).items():
            yield join(section, tag), spec
    for kind in QUALIFIED:
        for tag, spec in registry.all(kind).items():
            yield f"steps.{kind}.{tag}", spec


def _section(section: str, stages: Mapping[str, type]) -> dict[str, Any]:
    """One stage, or a list of them."""
    named = [n for n in stages if n.startswith(f"{section}.")]
    some = {"items": {"anyOf": [{"$ref": f"#/$defs/{n}"} for n in named]}} if named else {}
    many: dict[str, Any] = {"type": "array", **some}
    if section in ("sources", "sinks"):
        many["minItems"] = 1
    said = {"description": _ABOUT[section]}
    return said | ({"anyOf": [many, *some["items"]["anyOf"]]} if named else many)


def _stage(definition: Mapping[str, Any], written: str) -> dict[str, Any]:
    """A stage's definition with its type as it is written in that section."""
    kind = {"const": written.partition(".")[2]}
    properties = {
        "type": kind,
        **{k: v for k, v in definition["properties"].items() if k != "type"},
    }
    required = ["type", *(name for name in definition["required"] if name != "type")]
    said = _plain(definition.get("description", ""))
    return {**definition, "description": said, "properties": properties, "required": required}


def _plain(docstring: str) -> str:
    return docstring.replace("``", "`")


def _fillable(schema: Any) -> Any:
    """``schema`` with ``${…}`` allowed wherever something else than any text is expected."""
    if isinstance(schema, list):
        return [_fillable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    walked = {k: v if k in _LITERAL else _fillable(v) for k, v in schema.items()}
    if not _narrow(schema):
        return walked
    outside = {k: walked.pop(k) for k in ("title", "description", "default") if k in walked}
    return outside | {"anyOf": [walked, {"$ref": "#/$defs/filled"}]}


_LITERAL = ("default", "enum", "const", "required", "examples")
"""Keywords whose value is no schema."""


def _narrow(schema: Mapping[str, Any]) -> bool:
    """Whether it takes a number, a truth or some texts only."""
    bounded = schema.get("type") == "string" and len(schema.keys() - {"type", "default"}) > 0
    return schema.get("type") in ("integer", "number", "boolean") or "enum" in schema or bounded


def _hook(kind: type) -> dict[str, Any]:
    """The schema of types that msgspec does not know."""
    if kind in (Path, Secret):
        return {"type": "string"}
    raise NotImplementedError
