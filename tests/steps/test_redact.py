"""``redact``: where it looks, and that it leaves everything else as it is."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from tapio.model.batch import Batch
from tapio.model.schema import Field, Schema
from tapio.steps.redact import Redact, exposed
from tests.sample.context import context

SECRET = "run --password=hunter2 now"
HIDDEN = "run --password=[redacted] now"

SCHEMA = Schema.of(
    "process.exec",
    Field("argv", "string"),
    Field("url", "text"),
    Field("raw", "binary", attribute="process.command_line"),
    Field("agent", "string", attribute="http.request.header.user-agent"),
    Field("comment", "string"),
    Field("path", "uint32"),
)


def batch(*texts: str | None, start: int = 0) -> Batch:
    """One row a text, the same in every text column."""
    rows = len(texts)
    coded = pa.array(texts, pa.string()).dictionary_encode()
    return Batch(
        SCHEMA,
        {
            "time_ns": np.arange(rows),
            "seq": np.arange(start, start + rows, dtype=np.uint64),
            "severity": np.full(rows, 9, np.uint8),
            "argv": pa.array(texts, pa.string()),
            "url": coded,
            "raw": pa.array([None if t is None else t.encode() for t in texts], pa.binary()),
            "agent": pa.array(texts, pa.string()),
            "comment": pa.array(texts, pa.string()),
            "path": np.zeros(rows, np.uint32),
        },
    )


def test_looks_where_secrets_are() -> None:
    """By default the columns whose name or attribute tells; numbers and others are let be."""
    clean = Redact().start(context())(batch(SECRET, None, "ls -l"))
    for name in ("argv", "url", "agent"):
        assert clean[name].to_pylist() == [HIDDEN, None, "ls -l"]
    assert clean["raw"].to_pylist() == [HIDDEN.encode(), None, b"ls -l"]
    assert clean["comment"].to_pylist() == [SECRET, None, "ls -l"]
    assert clean.schema == SCHEMA


def test_says_where_it_looks() -> None:
    """The validator asks which columns may hold secrets, and which of them a step covers."""
    assert exposed(SCHEMA) == ("argv", "url", "raw", "agent")
    assert Redact(columns=("comment", "path", "absent")).covers(SCHEMA) == (
        *("argv", "url", "raw", "agent", "comment"),
    )


def test_clean_is_the_very_batch() -> None:
    """Where there is no secret nothing is copied."""
    clean = batch("ls -l", None, "cat file")
    assert Redact(patterns=("zebra",)).start(context())(clean) is clean
    empty = batch()
    assert Redact(patterns=("zebra",)).start(context())(empty) is empty


def test_coded_text_costs_once_a_distinct_text(monkeypatch) -> None:
    """Thousand rows of two texts are two texts to look at, and stay coded."""
    seen = []
    monkeypatch.setattr(
        "tapio.steps.secrets.Hider.texts", lambda self, texts: seen.append(len(texts)) or texts
    )
    many = batch(*["ls", SECRET] * 500)
    Redact().start(context())(many)
    assert seen == [1000, 2, 1000, 1000]
    seen.clear()
    Redact().start(context())(many.slice(7, 1))
    assert seen == [1, 1, 1, 1]


def test_two_secrets_become_one_text() -> None:
    """Texts that differ by their secret alone are one text of the new dictionary."""
    column = Redact().start(context())(batch("--token=a", "ls", "--token=b", None))["url"]
    assert column.dictionary.to_pylist() == ["--token=[redacted]", "ls"]
    assert column.to_pylist() == ["--token=[redacted]", "ls", "--token=[redacted]", None]


def test_a_cut_dictionary_keeps_no_secret() -> None:
    """Rows cut from a batch take its whole dictionary along; the texts of no row go, too."""
    redact = Redact().start(context())
    for start, rows in ((1, 1), (1, 2), (0, 2)):
        column = redact(batch(SECRET, "ls", "cat").slice(start, rows))["url"]
        assert SECRET not in column.dictionary.to_pylist()


def test_slices_are_seen_from_their_own_start() -> None:
    """A slice of a text column hides its own secrets, and its neighbours' marks do not matter."""
    redact = Redact().start(context())
    whole = batch("ls", SECRET, "cat")
    assert redact(whole.slice(1, 1))["argv"].to_pylist() == [HIDDEN]
    assert redact(whole.slice(2, 1))["argv"].to_pylist() == ["cat"]


def test_own_patterns() -> None:
    """All that a configured pattern matches is hidden, groups and all."""
    redact = Redact(patterns=(r"(?i)corp-(\d+)", "zebra")).start(context())
    clean = redact(batch("id CORP-123 zebra", "id 5"))
    for name in ("argv", "url"):
        assert clean[name].to_pylist() == ["id [redacted] [redacted]", "id 5"]
    assert clean["raw"].to_pylist() == [b"id [redacted] [redacted]", b"id 5"]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(", "missing"),
        (r"(?=a)", "invalid perl operator"),
        ("a*", "matches nothing at all"),
        (r"\b", "matches nothing at all"),
        ("", "matches nothing at all"),
        ("$", "matches nothing"),
    ],
)
def test_refuses_patterns(pattern, said) -> None:
    """A pattern that RE2 does not take, or that matches everywhere, is a configuration error."""
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"type": "redact", "patterns": [pattern]}, Redact)


def test_short_options_are_asked_for() -> None:
    """``-p`` is a password behind some commands only, and only where the config says so."""
    lines = {
        "mysql -u root -phunter2 db": "mysql -u root -p[redacted] db",
        "/usr/bin/mysqldump -phunter2 db": "/usr/bin/mysqldump -p[redacted] db",
        "sshpass -p hunter2 ssh host": "sshpass -p [redacted] ssh host",
        "redis-cli -a hunter2 ping": "redis-cli -a [redacted] ping",
        "ldapsearch -D cn=x -w hunter2": "ldapsearch -D cn=x -w [redacted]",
        "docker login -u me -p hunter2": "docker login -u me -p [redacted]",
        "ssh -p 2222 host": "ssh -p 2222 host",
    }
    off, on = Redact().start(context()), Redact(short_options=True).start(context())
    assert off(batch(*lines))["argv"].to_pylist() == list(lines)
    assert on(batch(*lines))["argv"].to_pylist() == list(lines.values())
