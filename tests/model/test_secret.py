"""What a ``Secret`` shows, and what it does not."""

from __future__ import annotations

import copy

import msgspec
import pytest

from tapio.model.secret import Secret


class Held(msgspec.Struct, frozen=True):
    """A struct as a sink's spec would be."""

    headers: dict[str, Secret]


def test_never_shown() -> None:
    """No way of printing a secret, or a struct that holds it, shows its text."""
    secret = Secret("hunter2")
    held = Held({"authorization": secret})
    for shown in (repr(secret), str(secret), f"{secret:>20}", f"{secret!r}", repr(held)):
        assert "hunter2" not in shown
        assert "[secret]" in shown


def test_revealed_at_each_use() -> None:
    """A secret of a callable gives the text of the moment at which it is used."""
    texts = iter(["old", "new"])
    secret = Secret(lambda: next(texts))
    assert [secret.reveal(), secret.reveal()] == ["old", "new"]


def test_equal_by_source() -> None:
    """Secrets are equal, and hash equally, where their sources are; a plain text is no secret."""
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_not_serialised() -> None:
    """Neither pickle nor msgspec takes a secret's text out of the process by accident."""
    with pytest.raises(TypeError, match="not serialised"):
        copy.copy(Secret("hunter2"))
    with pytest.raises(TypeError):
        msgspec.json.encode(Held({"a": Secret("hunter2")}))
