"""YAML → nodes: what each text becomes, where it stood, and what is refused within bounds."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tapio.config.node import Faults, Node
from tapio.config.reading import MAX_NODES, read, scalar
from tapio.model.errors import ConfigError


def parsed(text: str) -> Node:
    """The tree of a text that is right."""
    faults = Faults()
    root = read(text, "f.yaml", faults)
    faults.check()
    assert root is not None
    return root


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("8_192", 8192),
        ("0x10", 16),
        ("0o17", 15),
        ("007", 7),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.5E-3", 0.0015),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1e999", "1e999"),
        (".nan", ".nan"),
        (".inf", ".inf"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    """A plain text is null, a boolean, a number or a text, as YAML 1.2 has it; never infinite."""
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)
    assert parsed(f"a: {text}").plain() == {"a": value}
    assert parsed(f"a: '{text}'").plain() == {"a": text}


def test_lines() -> None:
    """Each value and each key knows its line."""
    root = parsed("a: 1\nb:\n  - x\n  - c: |\n      text\n    d: 2\n")
    assert isinstance(root.value, dict)
    assert root.keys["b"] == ("f.yaml", 2)
    items = root.value["b"].below()
    assert [items["0"].mark.line, items["1"].mark.line] == [3, 4]
    assert items["1"].keys["d"].line == 6


def test_aliases_stand_for_what_they_name() -> None:
    """An anchor's value may be used again."""
    assert parsed("a: &x {k: 1}\nb: *x").plain() == {"a": {"k": 1}, "b": {"k": 1}}


def test_a_repeated_key_names_both_lines() -> None:
    """The second of two equal keys is a fault that names the first one's line."""
    with pytest.raises(ConfigError) as caught:
        parsed("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert str(caught.value) == "f.yaml:4: a.b: this key stands in line 2 already; give it once"
    assert (caught.value.path, caught.value.line) == ("a.b", 4)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\nb: [", 2, "not YAML"),
        ("a:\n\tb: 1", 2, r"put spaces in its place"),
        ("a: [\t1", 1, "not YAML"),
        ("a: 1\n---\nb: 2", 2, "single document"),
        ("a: *nobody", 1, "undefined alias"),
        ("a: !!python/object:os.system x", 1, "tags"),
        ("a: !!str 5", 1, "tags"),
        ("a: 1\nb: \x07", 2, r"U\+0007"),
        ("a: \ud800", 1, r"U\+D800"),
        ("a: [1, ${X}]", 1, "in quotes inside"),
        ("? [a]\n: 1", 1, "a key is a word"),
    ],
)
def test_what_is_refused(text: str, line: int, reason: str) -> None:
    """What is no YAML, or more than plain YAML, is one sentence with its line."""
    with pytest.raises(ConfigError, match=reason) as caught:
        parsed(text)
    assert caught.value.line == line


BOMBS = {
    "deep": "[" * 100_000,
    "deep blocks": "- " * 100_000,
    "circular": "a: &a [*a]",
    "circular twice": "a: &a [*a, *a]",
    "laughs": "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1]\n"
    + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 8)}]\n" for i in range(30)),
    "wide": "[" + "x," * MAX_NODES,
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_soon(text: str) -> None:
    """Depth, circles, aliases that multiply and endless lists end in a sentence, soon."""
    start = time.process_time()
    with pytest.raises(ConfigError, match=r"nest deeper|more than"):
        parsed(text)
    assert time.process_time() - start < 10


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Any text gives a tree or ConfigError, and nothing else."""
    with contextlib.suppress(ConfigError):
        root = read(text, "f", Faults())
        assert root is None or isinstance(root, Node)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_reads_what_pyyaml_writes(value: dict[str, Any]) -> None:
    """What PyYAML writes with every text quoted comes back as it was."""
    written = yaml.safe_dump(value, default_style='"', allow_unicode=True)
    plain = written.replace('!!null "null"', "~").replace("!!int ", "").replace("!!bool ", "")
    expected = _texts(value)
    assert _texts(parsed(plain).plain()) == expected


def _texts(value: Any) -> Any:
    """Numbers and booleans as the texts that the quoted form makes of them."""
    if isinstance(value, dict):
        return {k: _texts(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_texts(v) for v in value]
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None else str(value)
