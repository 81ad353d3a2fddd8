"""``--where``: a small typed language that becomes a ``When``.

    exit_code != 0
    comm = bash and not (uid = 0 or lifetime_ns < 1000000)
    file in ("/bin/sh", /bin/bash)

A comparison is a column, one of ``= == != < <= > >= in``, and a value: a number (also 0x…),
``true``, ``false``, a word, or text in quotes; ``severity`` takes its names too. ``and`` binds
closer than ``or``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tapio.cli.boundary import UsageError
from tapio.codec.lines import SEVERITIES
from tapio.model.schema import NUMBERS, SEVERITY, Schema
from tapio.model.when import Value, When

MAX_LENGTH = 4_000
"""Characters; it bounds how deep brackets can nest, too."""

MAX_DEPTH = 50

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<sign>==|!=|<=|>=|[=<>(),])|(?P<word>[^\s=!<>(),"']+))"""
)
_TESTS = {"=": "eq", "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


def parse(text: str) -> When:
    """The tree that ``text`` says. Raises UsageError, naming what was expected where."""
    if len(text) > MAX_LENGTH:
        raise UsageError(f"--where is longer than {MAX_LENGTH} characters")
    return _Parser(text).whole()


def check(when: When, schema: Schema) -> None:
    """Refuse to compare a column of ``schema`` with a value of another type. UsageError."""
    for node in comparisons(when):
        if node.field is None or node.field not in schema:
            continue
        kind = schema[node.field].type
        for value in _values(node):
            number = isinstance(value, int | float)
            if number != (kind in NUMBERS):
                what = "a number" if kind in NUMBERS else "text"
                hint = f"; for text write '{value}'" if number else ""
                said = f"--where: {node.field} is {what}, and {value!r} is not{hint}"
                raise UsageError(said)


def comparisons(when: When) -> Iterator[When]:
    """The nodes of the tree that compare a column."""
    if when.field is not None:
        yield when
    for below in (*(when.all or ()), *(when.any or ()), *((when.not_,) if when.not_ else ())):
        yield from comparisons(below)


def _values(node: When) -> Iterator[Value]:
    if node.in_ is not None:
        yield from node.in_
    yield from (v for t in set(_TESTS.values()) if (v := getattr(node, t)) is not None)


class _Parser:
    """Recursive descent over the tokens; a text that is compared with text stays text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split(text))
        self._at = 0
        self._depth = 0

    def _split(self, text: str) -> Iterator[tuple[str, str]]:
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise UsageError(f"--where {text!r}: cannot read {text[at:].strip()[:20]!r}")
            at = found.end()
            yield found.lastgroup or "", found[found.lastgroup or 0]

    def whole(self) -> When:
        tree = self._or()
        if self._at < len(self._tokens):
            raise self._expected("and, or, or the end")
        return tree

    def _or(self) -> When:
        terms = [self._and()]
        while self._take("word", "or"):
            terms.append(self._and())
        return terms[0] if len(terms) == 1 else When(any=tuple(terms))

    def _and(self) -> When:
        terms = [self._not()]
        while self._take("word", "and"):
            terms.append(self._not())
        return terms[0] if len(terms) == 1 else When(all=tuple(terms))

    def _not(self) -> When:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UsageError(f"--where nests deeper than {MAX_DEPTH}")
        if self._take("word", "not"):
            tree = When(not_=self._not())
        elif self._take("sign", "("):
            tree = self._or()
            if not self._take("sign", ")"):
                raise self._expected(")")
        else:
            tree = self._comparison()
        self._depth -= 1
        return tree

    def _comparison(self) -> When:
        kind, name = self._next("a column")
        if kind != "word":
            self._at -= 1
            raise self._expected("a column")
        if self._take("word", "in"):
            return When(field=name, in_=self._list(name))
        kind, sign = self._next("a comparison such as = or !=")
        if sign not in _TESTS:
            self._at -= 1
            raise self._expected("one of = != < <= > >= in")
        return When(field=name, **{_TESTS[sign]: self._value(name)})  # type: ignore[arg-type]

    def _list(self, column: str) -> tuple[Value, ...]:
        if not self._take("sign", "("):
            raise self._expected("( after in")
        values = [self._value(column)]
        while self._take("sign", ","):
            values.append(self._value(column))
        if not self._take("sign", ")"):
            raise self._expected(", or )")
        return tuple(values)

    def _value(self, column: str) -> Value:
        kind, text = self._next("a value")
        if kind == "sign":
            self._at -= 1
            raise self._expected("a value")
        if column == SEVERITY.name and text.upper() in SEVERITIES:
            return 4 * SEVERITIES.index(text.upper()) + 1
        return text[1:-1] if kind == "quoted" else _typed(text)

    def _take(self, kind: str, text: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == (kind, text):
            self._at += 1
            return True
        return False

    def _next(self, expected: str) -> tuple[str, str]:
        if self._at == len(self._tokens):
            raise self._expected(expected)
        self._at += 1
        return self._tokens[self._at - 1]

    def _expected(self, what: str) -> UsageError:
        found = repr(self._tokens[self._at][1]) if self._at < len(self._tokens) else "the end"
        return UsageError(f"--where {self._text!r}: expected {what}, found {found}")


def _typed(word: str) -> Value:
    """A number or a truth where the word reads as one, else the word."""
    if word in ("true", "false"):
        return word == "true"
    if re.fullmatch(r"[+-]?(\d{1,30}|0[xX][0-9a-fA-F]{1,30})", word):
        return int(word, 0) if "x" in word.lower() else int(word)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", word):
        return float(word)
    return word
