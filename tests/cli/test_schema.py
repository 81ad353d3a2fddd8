"""``tapio schema``: a JSON Schema on stdout."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from tapio.cli.main import main
from tapio.model.errors import ConfigError
from tapio.registry import Registry
from tests import specs
from tests.specs import SAMPLE


def test_the_sample_file_is_valid(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed is a schema of its draft, and the sample file is valid by it."""
    monkeypatch.setattr(Registry, "installed", specs.registry)
    assert main(["schema"]) == 0
    said = capsys.readouterr()
    schema = json.loads(said.out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(SAMPLE))
    assert said.err == ""


def test_a_broken_plugin_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named on stderr, and stdout is a schema all the same."""
    broken = (ConfigError("sink 'x' of plugin 'acme' cannot be loaded: no module"),)
    monkeypatch.setattr(Registry, "installed", specs.registry)
    monkeypatch.setattr(Registry, "broken", lambda _: broken)
    assert main(["schema"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["title"] == "Tapio pipeline"
    assert "left out: sink 'x' of plugin 'acme'" in said.err
