"""The language of --where, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.cli.boundary import UsageError
from tapio.cli.where import MAX_LENGTH, check, comparisons, parse
from tapio.model.when import When
from tests.batches import counting

BATCH = counting("process.exec", 6, comm=["bash", "zsh", None, "my app", "or", "7"])


def chosen(text: str) -> list[int]:
    """The rows of BATCH for which ``text`` holds."""
    when = parse(text)
    check(when, BATCH.schema)
    return [int(n) for n in BATCH.where(when.mask(BATCH))["n"]]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("n=3", [3]),
        ("n == 3", [3]),
        ("n!=3", [0, 1, 2, 4, 5]),
        ("n < 0x2", [0, 1]),
        ("n <= 1.5", [0, 1]),
        ("n>4", [5]),
        ("n >= 4", [4, 5]),
        ("n in (1, 2,9)", [1, 2]),
        ("comm = bash", [0]),
        ('comm = "my app"', [3]),
        ("comm in (zsh, 'or')", [1, 4]),
        ("comm = '7'", [5]),
        ("comm != bash", [1, 3, 4, 5]),
        ("n = 1 or n = 2 and comm = zsh", [1]),
        ("(n = 1 or n = 2) and comm = zsh", [1]),
        ("not (n < 4 or comm = 'or')", [5]),
        ("not not n = 1", [1]),
        ("severity = info", [0, 1, 2, 3, 4, 5]),
        ("severity >= WARN", []),
        ("elsewhere = 1", []),
        ("n = -1", []),
        ("n < 1e300", [0, 1, 2, 3, 4, 5]),
        (f"n < {10**29}", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_what_a_test_chooses(text: str, rows: list[int]) -> None:
    """Each form of comparison, the order of and and or, and the types of values."""
    assert chosen(text) == rows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a column, found the end"),
        ("n", "expected a comparison such as = or !=, found the end"),
        ("n 3", "expected one of = != < <= > >= in, found '3'"),
        ("n =", "expected a value, found the end"),
        ("n = )", "expected a value, found ')'"),
        ("n in 3", "expected ( after in, found '3'"),
        ("n in (3", "expected , or )"),
        ("(n = 3", "expected ), found the end"),
        ("n = 3 n = 4", "expected and, or, or the end, found 'n'"),
        ("= 3", "expected a column, found '='"),
        ("'n' = 3", "expected a column"),
        ("n = 'abc", "cannot read"),
        ("(" * 60 + "n = 3", "nests deeper"),
        ("not " * 60 + "n = 3", "nests deeper"),
        ("n" * (MAX_LENGTH + 1), "longer than"),
    ],
)
def test_a_fault_says_what_was_expected(text: str, said: str) -> None:
    """What cannot be read is refused with what should have stood there."""
    with pytest.raises(UsageError) as raised:
        parse(text)
    assert said in str(raised.value)


@pytest.mark.parametrize("text", ["n = abc", "n in (1, x)", "comm = 3", "comm < 3.5", "n < true x"])
def test_types_that_do_not_fit_are_refused(text: str) -> None:
    """A number column is compared with numbers alone, a text column with text alone."""
    with pytest.raises(UsageError):
        chosen(text)


def test_every_comparison_of_a_tree_is_found() -> None:
    """Columns are named wherever they stand."""
    tree = parse("a = 1 and not (b = 2 or c in (3))")
    assert [node.field for node in comparisons(tree)] == ["a", "b", "c"]


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes it raise anything but UsageError."""
    try:
        tree = parse(text)
    except UsageError:
        return
    assert isinstance(tree, When)
