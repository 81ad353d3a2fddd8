"""The JSON Schema agrees with the loader about what a configuration is."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from tapio.config import load
from tapio.config.json_schema import schema
from tapio.model.errors import ConfigError
from tests import specs
from tests.specs import SAMPLE

WHOLE = schema(specs.registry())
VALIDATOR = jsonschema.Draft202012Validator(WHOLE)

FROM = "sources: {type: process}\nsinks: "
ENDS = "sources: [{type: process}]\nsinks: [{type: otlp}]\n"


def test_it_is_a_schema() -> None:
    """It is valid by its own draft, and every reference leads somewhere."""
    jsonschema.Draft202012Validator.check_schema(WHOLE)
    references = set(_references(WHOLE))
    assert references
    assert {r.removeprefix("#/$defs/") for r in references} <= WHOLE["$defs"].keys()


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [r for value in part.values() for r in _references(value)]
    return [r for value in part for r in _references(value)] if isinstance(part, list) else []


RIGHT = [
    SAMPLE,
    ENDS,
    ENDS + "enrich: {type: cgroup}",
    ENDS + "steps: [{type: redact}, {type: batch.by}, {type: sample.adaptive, target_per_s: 5}]",
    ENDS + "settings: {drain_s: 5, memory: {soft: 1, hard: 2}}",
    ENDS + "batch: {type: by, max_rows: '${ROWS:-5}'}",
    FROM + "{type: otlp, compression: '${HOW:-gzip}', tls: '${TLS:-true}'}",
    FROM + "{type: otlp, headers: {a: 'Bearer ${TOKEN:-x}'}, token: x}",
    FROM + "{type: file, path: a, root: /tmp, sizes: [1], labels: {a: 1}}",
    FROM + "{type: otlp, when: {all: [{topic: [a]}, {field: b, eq: 1}]}}",
]
WRONG = [
    "sources: {type: process}",
    "sources: []\nsinks: [{type: otlp}]",
    ENDS + "sink: {}",
    ENDS + "enrich: cgroup",
    ENDS + "enrich: {type: otlp}",
    ENDS + "enrich: {name: x}",
    ENDS + "steps: {type: adaptive}",
    ENDS + "steps: {type: sink.otlp}",
    ENDS + "batch: {type: by, max_row: 5}",
    ENDS + "batch: {type: by, max_rows: 0}",
    ENDS + "batch: {type: by, max_rows: '5'}",
    ENDS + "batch: {type: by, max_rows: 'x${ROWS:-5}'}",
    ENDS + "settings: {drain: 5}",
    ENDS + "pipeline: 5",
    FROM + "{type: otlp, compression: zip}",
    FROM + "{type: file}",
]


@pytest.mark.parametrize("text", RIGHT)
def test_what_loads_is_valid(text: str) -> None:
    """A configuration that the loader takes is valid by the schema."""
    load(text, registry=specs.registry())
    assert [e.message for e in VALIDATOR.iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize("text", WRONG)
def test_what_is_invalid_does_not_load(text: str) -> None:
    """A configuration that the loader refuses is invalid by the schema."""
    with pytest.raises(ConfigError):
        load(text, registry=specs.registry())
    assert not VALIDATOR.is_valid(yaml.safe_load(text))


def test_it_teaches() -> None:
    """Descriptions come from the code: an editor shows what a stage is and a field's default."""
    by = WHOLE["$defs"]["batch.by"]
    assert by["description"] == "Gathers rows."
    assert by["properties"]["type"] == {"const": "by"}
    assert by["properties"]["max_rows"]["description"] == "Rows of a batch."
    assert by["properties"]["max_rows"]["default"] == 8192
    assert WHOLE["$defs"]["steps.batch.by"]["properties"]["type"] == {"const": "batch.by"}
