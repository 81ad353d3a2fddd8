"""``--set path=value``: where it puts what."""

from __future__ import annotations

import pytest

from tapio.config.node import Faults
from tapio.config.overriding import override
from tapio.config.reading import read
from tapio.model.errors import ConfigError
from tests.specs import SAMPLE


def plain(text: str, *overrides: str) -> object:
    """The tree of ``text`` after the overrides."""
    faults = Faults()
    root = read(text, "f.yaml", faults)
    assert root is not None
    root = override(root, overrides, faults)
    faults.check()
    return root.plain()


@pytest.mark.parametrize(
    ("text", "overrides", "result"),
    [
        ("a: 1", ["a=2"], {"a": 2}),
        ("a: 1", ["b=x"], {"a": 1, "b": "x"}),
        ("a: {b: 1, c: 2}", ["a.b=3"], {"a": {"b": 3, "c": 2}}),
        ("a: [{b: 1}, {b: 2}]", ["a.1.b=3"], {"a": [{"b": 1}, {"b": 3}]}),
        ("a: {b: 1}", ["a.0.b=3"], {"a": [{"b": 3}]}),
        ("a: {b: 1}", ["a.b=3"], {"a": {"b": 3}}),
        ("a: {b: 1}", ["a.1.b=3"], {"a": [{"b": 1}, {"b": 3}]}),
        ("a: [1]", ["a.1=2", "a.2=3"], {"a": [1, 2, 3]}),
        ("a: 1", ["0=2"], {"a": 1, "0": 2}),
        ("a: {b: {c: 1}}", ["a.b.0=2"], {"a": {"b": {"c": 1, "0": 2}}}),
        ("a: 1", ["s.0.type=x", "s.0.n=5"], {"a": 1, "s": [{"type": "x", "n": 5}]}),
        ("a: 1", ["a={b: [1, 2]}"], {"a": {"b": [1, 2]}}),
        ("a: 1", ["a="], {"a": None}),
        ("a: 1", ["a='5'"], {"a": "5"}),
        ("a: 1", ["a=x=y"], {"a": "x=y"}),
        ("a: 1", ["a=2", "a=3"], {"a": 3}),
    ],
)
def test_where_it_goes(text: str, overrides: list[str], result: object) -> None:
    """A value is replaced or made; a lone stage is item 0; the next number appends."""
    assert plain(text, *overrides) == result


@pytest.mark.parametrize(
    ("override_", "reason"),
    [
        ("sources", "say path=value"),
        ("=5", "say path=value"),
        (".".join(["a"] * 2000) + "=1", "say path=value"),
        ("sources.7.type=x", "sources has 1 items; the next is 1"),
        ("sources.type=x", "sources is a list; name an item, such as sources.0"),
        ("sources.99999999999999999999.type=x", "sources is a list"),
        ("pipeline.a=1", "pipeline is a single value"),
        ("pipeline=[", "not YAML"),
        ("pipeline=!!python/name:os.x", "tags"),
    ],
)
def test_what_it_refuses(override_: str, reason: str) -> None:
    """A path that leads nowhere, or a value that is none, is one sentence at that path."""
    with pytest.raises(ConfigError, match=reason) as caught:
        plain(SAMPLE, override_)
    assert caught.value.file == "--set"
    assert caught.value.path == override_.partition("=")[0]


def test_all_refused_are_told() -> None:
    """One override that is refused does not hide another."""
    with pytest.raises(ConfigError) as caught:
        plain(SAMPLE, "x", "pipeline.a=1")
    assert len(str(caught.value).splitlines()) == 2
