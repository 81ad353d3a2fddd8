"""Nodes → typed values: strictness, what a filled-in text becomes, and what no message shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from tapio.config.decoding import Decoder, Undecodable
from tapio.config.filling import fill
from tapio.config.node import ConfigErrors, Faults
from tapio.config.reading import read
from tapio.model.errors import ConfigError
from tapio.model.policy import Settings
from tapio.model.secret import Secret
from tapio.model.when import When
from tests.specs import File, Otlp

Small = Annotated[int, msgspec.Meta(ge=1, le=9)]


def value(kind: Any, yaml: str, **environ: str) -> Any:
    """What the YAML text is as a ``kind``, at the path ``at``."""
    faults = Faults()
    root = read(f"at: {yaml}", "f.yaml", faults)
    assert root is not None
    node = fill(root, environ, faults).below()["at"]
    try:
        if kind in (File, Otlp):
            return Decoder(faults).struct(kind, node, "at", "type")
        return Decoder(faults).value(kind, node, "at")
    except Undecodable:
        faults.check()
        raise


@pytest.mark.parametrize(
    ("kind", "yaml", "expected"),
    [
        (int, "5", 5),
        (float, "5", 5.0),
        (str, "'5'", "5"),
        (bool, "true", True),
        (int | None, "~", None),
        (tuple[int, ...], "[1, 2]", (1, 2)),
        (list[str], "[]", []),
        (dict[str, float], "{a: 1}", {"a": 1.0}),
        (Path, "/tmp", Path("/tmp")),
        (Path | None, "/tmp", Path("/tmp")),
        (When | None, "{topic: [a]}", When(topic=("a",))),
        (tuple[When, ...], "[{severity: 9}]", (When(severity=9),)),
        (str | int, "5", 5),
        (set[int], "[1, 1]", {1}),
        (dict[int, float], "{9: 1}", {9: 1.0}),
    ],
)
def test_plain_values(kind: Any, yaml: str, expected: object) -> None:
    """A value of the right type is taken, a whole number where a number is wanted."""
    assert value(kind, yaml) == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (int, "5", 5),
        (Small, "5", 5),
        (float, "5e2", 500.0),
        (float | None, "0.5", 0.5),
        (float | None, "", None),
        (bool, "true", True),
        (bool, "1", True),
        (bool, "False", False),
        (str, "5", "5"),
        (str | None, "5", "5"),
        (str | None, "null", "null"),
        (str, "", ""),
        (Literal["a", "b"], "b", "b"),
        (str | int | float | bool, "5", 5),
        (str | int | float | bool, "true", True),
        (str | int | float | bool, "x", "x"),
        (Path, "/tmp", Path("/tmp")),
    ],
)
def test_a_filled_in_text_becomes_what_the_field_is(kind: Any, text: str, expected: object) -> None:
    """What is wholly one ``${…}`` is converted; a union takes it as if it stood there plainly."""
    found = value(kind, "${V}", V=text)
    assert found == expected
    assert type(found) is type(expected)


def test_only_a_whole_one_is_converted() -> None:
    """A quoted number, or one that is put together, stays a text, and is no number."""
    with pytest.raises(ConfigError, match="expected whole number, got text"):
        value(int, "'5'")
    with pytest.raises(ConfigError, match="expected whole number, got text"):
        value(int, "1${V}", V="5")


SECRET = "hunter2/p4ss word"


@pytest.mark.parametrize(
    ("kind", "yaml"),
    [
        (int, "${V}"),
        (Small, "${V}"),
        (bool, "${V}"),
        (Literal["a", "b"], "${V}"),
        (Literal["a", "b"], "x${V}"),
        (tuple[int, ...], "${V}"),
        (tuple[Literal["a"], ...], "['${V}']"),
        (Otlp, "{endpoint: '${V}'}"),
        (Otlp, "{endpoint: 'ftp://${V}@host'}"),
        (Otlp, "{endpoint: ok, name: '${V}'}"),
        (File, "{path: a, labels: {a: '${V}'}}"),
        (When, "{field: '${V}', eq: '${V}', ne: '${V}'}"),
        (dict[str, Literal["a"] | int], "{x: 'a${V}'}"),
    ],
)
def test_no_error_shows_what_was_filled_in(kind: Any, yaml: str) -> None:
    """Whatever is wrong, neither the text nor a part of it stands in a message."""
    with pytest.raises(ConfigError) as caught:
        value(kind, yaml, V=SECRET)
    for part in ("hunter2", "p4ss", "word"):
        assert part not in str(caught.value).lower()
        assert part not in repr(caught.value).lower()


def test_no_error_shows_a_part_of_what_was_filled_in() -> None:
    """A stage that takes the text apart and complains of one piece gives nothing away either."""

    class Login(msgspec.Struct):
        url: str
        port: int = 0

        def __post_init__(self) -> None:
            user, _, rest = self.url.partition(":")
            raise ValueError(f"user {user.upper()} of {rest!r} cannot use port {self.port}")

    with pytest.raises(ConfigError) as caught:
        value(Login, "{url: '${V}', port: '${P}'}", V="hunter:s3cret@host", P="5")
    assert caught.value.reason == "user … of '…@…' cannot use port …"


def test_what_cannot_be_filled_in_is_one_error() -> None:
    """Neither its type nor the stage that needs it is complained about on top."""
    with pytest.raises(ConfigError, match="NOT_SET is not set") as caught:
        value(Otlp, "{endpoint: '${NOT_SET}', max_rows: 5}")
    assert not isinstance(caught.value, ConfigErrors)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_numbers_are_finite(text: str) -> None:
    """A number that is filled in is finite too, as one that is written must be."""
    with pytest.raises(ConfigError, match="does not fit: "):
        value(float, "${V}", V=text)
    with pytest.raises(ConfigError, match="expected number"):
        value(float, text)


@pytest.mark.parametrize(
    ("kind", "yaml", "where", "reason"),
    [
        (int, "x", "at", "expected whole number, got text"),
        (Small, "10", "at", "expected whole number <= 9"),
        (str, "5", "at", "expected text, got whole number; put it in quotes"),
        (str, "[a]", "at", "expected text, got list$"),
        (str, '"a\\0b"', "at", "a NUL character cannot stand in a value"),
        (dict[str, str], '{a: "\\0"}', "at.a", "a NUL character"),
        (Secret, '"\\0"', "at", "a NUL character"),
        (bool, "no", "at", "expected true or false, got text"),
        (tuple[int, ...], "5", "at", "expected list, got whole number"),
        (tuple[int, ...], "[1, x]", "at.1", "expected whole number, got text"),
        (dict[str, int], "{a: x}", "at.a", "expected whole number, got text"),
        (set[int], "[1, x]", "at.1", "expected whole number, got text"),
        (Literal["block", "spool"], "blok", "at", "did you mean 'block'"),
        (Secret, "5", "at", "expected text, got whole number"),
        (Settings, "{channel: {row: 1}}", "at.channel.row", "did you mean 'rows'"),
        (Settings, "5", "at", "expected keys and values"),
        (File, "{}", "at.path", "this key is missing"),
        (When, "{all: [{topic: [a]}, {topic: [5]}]}", "at.all.1.topic.0", "expected text"),
        (When, "{all: [{field: a}]}", "at.all.0", "exactly one of eq"),
        (Otlp, "{endpoint: ftp://x}", "at", "must begin with http"),
    ],
)
def test_each_error_has_its_place(kind: Any, yaml: str, where: str, reason: str) -> None:
    """What does not fit is said in plain words, at the innermost place."""
    with pytest.raises(ConfigError, match=reason) as caught:
        value(kind, yaml)
    assert (caught.value.path, caught.value.line) == (where, 1)


def test_all_errors_are_told() -> None:
    """Several things wrong are several errors, in the order of their lines, each place once."""
    yaml = (
        "\n  name: 5\n  max_rows: 0\n  when: {topic: a}\n  retry:\n    initial_s: x\n    most: 1\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        value(Otlp, yaml)
    places = [(e.path, e.line) for e in caught.value.errors]
    assert places == [
        ("at.name", 2),
        ("at.max_rows", 3),
        ("at.when.topic", 4),
        ("at.retry.initial_s", 6),
        ("at.retry.most", 7),
    ]
    assert len(str(caught.value).splitlines()) == 5
    assert caught.value.path == "at.name"


def test_a_length_is_checked_on_the_whole() -> None:
    """A constraint of a list holds for what its items became."""
    kind = Annotated[tuple[When, ...], msgspec.Meta(min_length=2)]
    assert len(value(kind, "[{severity: 1}, {severity: 2}]")) == 2
    with pytest.raises(ConfigError, match="length >= 2"):
        value(kind, "[{severity: 1}]")


def test_a_stage_may_name_the_field() -> None:
    """A ConfigError from a stage's own check keeps its path, and takes the line of that field."""

    class Picky(msgspec.Struct):
        port: int

        def __post_init__(self) -> None:
            raise ConfigError("this port is taken", path="port")

    with pytest.raises(ConfigError, match="this port is taken") as caught:
        value(Picky, "\n  port: 5")
    assert (caught.value.path, caught.value.line) == ("at.port", 2)


def test_secrets_are_read_again(tmp_path: Path) -> None:
    """A Secret field follows its file; one that is written out is the text itself."""
    token = tmp_path / "token"
    token.write_text("one\n")
    otlp = value(Otlp, f"{{headers: {{a: 'Bearer ${{file:{token}}}', b: plain}}}}")
    assert otlp.headers["a"].reveal() == "Bearer one"
    token.write_text("three\n")
    assert otlp.headers["a"].reveal() == "Bearer three"
    assert otlp.headers["b"] == Secret("plain")
    assert "Bearer" not in repr(otlp)
    assert value(Otlp, "{token: ~}").token is None
