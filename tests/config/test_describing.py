"""What ``tapio stages`` knows of a stage comes from its code."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest

from tapio.config.describing import document, sentence, settings, type_name, unit
from tapio.model.secret import Secret
from tapio.model.stage import Sink
from tapio.model.when import When
from tests.specs import Adaptive, By, File, Otlp


class Talkative(Sink, frozen=True, tag="talkative"):
    """Says ``a``; and more. Then it says more.

    A second paragraph.
    """


def test_sentences() -> None:
    """The first sentence stands for a stage; the whole text is there too; none is inherited."""

    class Mute(Talkative, frozen=True, tag="mute"): ...

    assert sentence(Talkative) == "Says `a`; and more."
    assert document(Talkative).endswith("A second paragraph.")
    assert sentence(Mute) == ""


def test_settings() -> None:
    """Each field has its type, unit, default and text; its own come first, groups in full."""
    found = {s.name: s for s in settings(Otlp)}
    assert next(iter(found)) == "endpoint"
    assert found["timeout_s"].unit == "seconds"
    assert found["headers"].type == "keys with text, kept secret"
    assert found["retry.max_s"].default == 30.0
    assert found["retry.max_s"].shared
    assert not found["tls"].shared
    assert found["name"].doc.startswith("How metrics and the ledger call it")
    path = next(s for s in settings(File) if s.name == "path")
    assert (path.required, path.default) == (True, None)


def test_texts_of_fields() -> None:
    """A field's text stands below it in the source, or in its Meta."""
    assert next(s for s in settings(Adaptive)).doc == "Rows kept a second, over all topics."
    assert next(s for s in settings(By) if s.name == "max_rows").doc == "Rows of a batch."


def test_a_class_without_source() -> None:
    """A class that was made at a prompt is described without the texts of its fields."""
    space: dict[str, type[Sink]] = {"Sink": Sink}
    exec('class Typed(Sink, frozen=True, tag="typed"):\n    """Typed."""\n    a: int = 1', space)
    assert settings(space["Typed"])[0][:3] == ("a", "whole number", "")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (int, "whole number"),
        (Annotated[int, msgspec.Meta(ge=1, le=9)], "whole number, at least 1, at most 9"),
        (Annotated[float, msgspec.Meta(gt=0)] | None, "number, more than 0 or null"),
        (Literal["a", "b"], "a | b"),
        (tuple[str, ...], "list of text"),
        (Annotated[list[str], msgspec.Meta(min_length=1)], "list of text, length at least 1"),
        (dict[str, Secret], "keys with text, kept secret"),
        (str | int, "text or whole number"),
        (dict[str, float | bool], "keys with number or true or false"),
        (dict[Annotated[int, msgspec.Meta(ge=1)], float], "keys with number"),
        (bytes, "bytes"),
    ],
)
def test_types(kind: object, said: str) -> None:
    """Types are said in an operator's words, with their bounds."""
    assert type_name(kind) == said


def test_a_tree() -> None:
    """A group that may be left out is said by its keys."""
    assert type_name(When | None).startswith("keys topic, severity, field, eq")


def test_units() -> None:
    """A unit is what a name ends in."""
    said = {name: unit(name) for name in ("max_age_s", "target_per_s", "max_bytes", "rows", "path")}
    assert said == {
        "max_age_s": "seconds",
        "target_per_s": "a second",
        "max_bytes": "bytes",
        "rows": "rows",
        "path": "",
    }
