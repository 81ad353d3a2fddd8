"""The built-in pipelines, and the sample file, on the stages that are installed."""

from __future__ import annotations

import re

import jsonschema
import pytest
import yaml

from tapio.config import load, profile
from tapio.config.json_schema import schema
from tapio.config.profiles import names
from tapio.config.topology import check
from tapio.model.errors import ConfigError
from tapio.model.plan import Plan, tag
from tapio.registry import KINDS, Registry
from tests.specs import SAMPLE

REGISTRY = Registry.installed()


def tags(plan: Plan) -> list[str]:
    """The stages of a plan, from source to sink."""
    return [tag(spec) for spec in (*plan.sources, *plan.trunk, *plan.sinks)]


def test_every_built_in_loads() -> None:
    """No stage that this package names is missing or broken."""
    broken = [str(e) for e in REGISTRY.broken() if "plugin 'tapio'" in str(e)]
    assert broken == []
    assert all(REGISTRY.names(kind) for kind in KINDS)


def test_the_sample_file_loads() -> None:
    """The sample file works as it is, on the real stages."""
    plan = load(SAMPLE, registry=REGISTRY)
    assert tags(plan) == ["process", "cgroup", "adaptive", "by", "file", "otlp"]
    assert [f for f in check(plan) if f.level == "error"] == []


@pytest.mark.parametrize("name", names())
def test_profiles(name: str) -> None:
    """Each profile loads, redacts before its sinks, and has nothing to be warned of."""
    plan = load(profile(name), registry=REGISTRY)
    source = {"default": "process", "procfs": "procfs"}[name]
    assert tags(plan) == [source, "cgroup", "redact", "adaptive", "by", "file"]
    assert {f.level for f in check(plan)} == {"note"}


@pytest.mark.parametrize("name", names())
def test_what_is_commented_out_works(name: str) -> None:
    """The sink that a profile shows as a comment is one that loads, for topics that there are."""
    text = re.sub(r"(?m)^  # (?=- type:|  )", "  ", profile(name).read_text())
    token = "sinks.1.headers.authorization=x"
    plan = load(text, registry=REGISTRY, overrides=[token])
    assert tags(plan)[-1] == "otlp"
    assert {f.level for f in check(plan)} == {"note"}


def test_the_schema_of_what_is_installed() -> None:
    """The sample file and the profiles are valid by the schema of the real stages."""
    whole = schema(REGISTRY)
    jsonschema.Draft202012Validator.check_schema(whole)
    validator = jsonschema.Draft202012Validator(whole)
    for text in (SAMPLE, *(profile(name).read_text() for name in names())):
        assert [e.message for e in validator.iter_errors(yaml.safe_load(text))] == []


def test_unknown_profile() -> None:
    """The sentence names the near one."""
    with pytest.raises(ConfigError, match="there is no profile 'defualt'; did you mean 'default'"):
        profile("defualt")
