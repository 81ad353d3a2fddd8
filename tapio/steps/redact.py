"""``redact``: hides secrets in command lines, URLs, headers, paths and queries."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.compute

from tapio.model.batch import Batch
from tapio.model.schema import TEXT, Field, Schema
from tapio.model.stage import Context, Step, Transform
from tapio.steps.named import HIDDEN
from tapio.steps.secrets import FORMS, SHORT_OPTIONS, Hider

pc: Any = pyarrow.compute  # makes its functions at import, where no type checker sees them

COLUMNS = frozenset(
    (
        *("argv", "args", "cmd", "cmdline", "command", "command_line"),
        *("env", "environ", "environment"),
        *("url", "uri", "path", "query", "query_string", "referer", "target"),
        *("header", "headers", "cookie"),
        *("file", "filename", "file_name", "file_path"),
        *("dsn", "sql", "statement"),
        *("process.command", "process.command_args", "process.command_line"),
        *("url.full", "url.original", "url.path", "url.query", "http.url", "http.target"),
        *("file.path", "file.name", "db.query.text", "db.statement"),
    )
)
"""Columns, by their name or their attribute, in which secrets are looked for by default."""

_HEADER = ("http.request.header.", "http.response.header.")

_SCHEMAS = 256
"""Schemas whose columns are remembered: a pipeline has a few dozen."""

_SAMPLES = pa.array(["", "a", " a1 ="])
"""Texts on which a pattern that matches no character at all shows itself."""


def exposed(schema: Schema) -> tuple[str, ...]:
    """The columns of ``schema`` that may hold secrets: text whose name or attribute says so."""
    return tuple(field.name for field in schema.fields if _telling(field))


def _telling(field: Field) -> bool:
    named = field.name in COLUMNS or field.otel in COLUMNS or field.otel.startswith(_HEADER)
    return named and field.type in TEXT


class Redact(Step, frozen=True, tag="redact"):
    r"""Puts ``[redacted]`` in the place of each secret it knows; rows and columns stay.

    It knows: options, assignments, JSON fields, headers and query parameters with telling
    names (``--password=…``, ``--token …``, ``DB_SECRET=…``, ``?sig=…``), ``Authorization``,
    ``Bearer …``, ``Basic …``, cookies, ``user:…@`` in URLs, passwords in SQL, private key
    blocks, and the keys of well-known services by their shape. With ``short_options`` also
    ``mysql -p…``, ``sshpass -p …``, ``redis-cli -a …``. ``patterns`` are regular expressions
    of RE2 (linear time, no look-around); all that one matches is hidden.

    It looks in text columns of the names in ``COLUMNS``, and in ``columns``. Coded text costs
    once a distinct text. What nothing tells it cannot hide: a bare word may be a secret too.
    """

    columns: tuple[str, ...] = ()
    patterns: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()
    short_options: bool = False

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            _check(pattern)

    def start(self, cx: Context) -> Transform:
        """Start it; the Transform returns its very batch where no secret is found."""
        hider = Hider((*SHORT_OPTIONS, *FORMS) if self.short_options else FORMS)
        covered = lru_cache(_SCHEMAS)(self.covers)

        def hidden(texts: pa.Array) -> pa.Array:
            return _own(hider.texts(texts), self.patterns)

        def redact(batch: Batch) -> Batch:
            clean = {}
            for name in covered(batch.schema):
                column = _clean(batch[name], hidden)
                if column is not batch[name]:
                    clean[batch.schema[name]] = column
            return batch.with_columns(clean) if clean else batch

        return redact

    def covers(self, schema: Schema) -> tuple[str, ...]:
        """The columns of ``schema`` in which it looks for secrets."""
        chosen = {*exposed(schema), *self.columns}
        return tuple(f.name for f in schema.fields if f.name in chosen and f.type in TEXT)


def _check(pattern: str) -> None:
    """ValueError where ``pattern`` is not RE2's, or matches where there is nothing to hide."""
    try:
        matched = pc.match_substring_regex(_SAMPLES, pattern).to_pylist()
        changed = pc.replace_substring_regex(_SAMPLES, pattern, "").to_pylist()
    except pa.ArrowInvalid as error:
        raise ValueError(f"pattern {pattern!r}: {error}") from None
    if any(
        m and c == text for m, c, text in zip(matched, changed, _SAMPLES.to_pylist(), strict=True)
    ):
        raise ValueError(f"pattern {pattern!r} matches nothing at all, and so everywhere")


def _own(texts: pa.Array, patterns: tuple[str, ...]) -> pa.Array:
    """``texts`` without what the configured ``patterns`` match; itself if that is nothing."""
    for pattern in patterns:
        clean = pc.replace_substring_regex(texts, pattern, HIDDEN)
        texts = texts if clean.equals(texts) else clean
    return texts


def _clean(column: pa.Array, hidden: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """``column`` without secrets; itself where it has none.

    A dictionary is cleaned whole, for it travels whole; one that is longer than its rows
    (they were cut from more) is made anew from what they use.
    """
    if not isinstance(column, pa.DictionaryArray):
        return hidden(column)
    if len(column.dictionary) > len(column):
        column = column.dictionary_decode().dictionary_encode()
    texts = hidden(column.dictionary)
    if texts is column.dictionary:
        return column
    distinct = texts.dictionary_encode()
    return pa.DictionaryArray.from_arrays(
        distinct.indices.take(column.indices), distinct.dictionary
    )
