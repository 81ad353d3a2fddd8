"""Entity tables: codes are never used again, and old batches keep what theirs mean."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tapio.model.entities import UNKNOWN, EntityTable

MOVES = st.lists(
    st.tuples(st.sampled_from(["add", "retire"]), st.integers(0, 5), st.text(max_size=2))
)


@given(MOVES)
def test_codes_are_never_used_again(moves: list[tuple[str, int, str]]) -> None:
    """Whatever comes and goes, each code means for ever what it was given for."""
    table = EntityTable()
    meaning: dict[int, str] = {}
    alive: dict[int, int] = {}
    for move, key, value in moves:
        if move == "add":
            code = table.add(key, {"a": value})
            assert code == len(meaning)
            meaning[code], alive[key] = value, code
        else:
            table.retire(key)
            alive.pop(key, None)
        assert {k: table.code(k) for k in range(6)} == {k: alive.get(k, UNKNOWN) for k in range(6)}
    assert len(table) == len(meaning)
    assert {code: table[code]["a"] for code in meaning} == meaning


@given(MOVES)
def test_a_new_epoch_holds_the_living(moves: list[tuple[str, int, str]]) -> None:
    """The successor knows each living key by its attributes and no dead one; the old one stays."""
    table = EntityTable()
    for move, key, value in moves:
        table.add(key, {"a": value}) if move == "add" else table.retire(key)
    before = [dict(table[c]) for c in range(len(table))]
    new = table.successor()
    assert new.epoch > table.epoch
    living = [k for k in range(6) if table.code(k) != UNKNOWN]
    assert len(new) == len(living)
    assert all(new[new.code(k)] == table[table.code(k)] for k in living)
    assert [dict(table[c]) for c in range(len(table))] == before


def test_a_table_is_stale_when_half_of_it_is_dead() -> None:
    """Half the codes dead is reason for a new epoch, but never below 64 codes."""
    table = EntityTable()
    for key in range(64):
        table.add(key, {})
    for key in range(31):
        table.retire(key)
    assert not table.stale
    table.retire(31)
    assert table.stale
    assert not table.successor().stale
    replaced = EntityTable()
    for _ in range(64):
        replaced.add("the same", {})
    assert replaced.stale
    small = EntityTable()
    for key in range(63):
        small.add(key, {})
        small.retire(key)
    assert not small.stale


def test_attributes_are_a_copy() -> None:
    """What the owner changes afterwards is not seen; the unknown has none."""
    table = EntityTable()
    attributes = {"a": "1"}
    code = table.add("x", attributes)
    attributes["a"] = "2"
    assert table[code] == {"a": "1"}
    assert table[UNKNOWN] == {}


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.text(max_size=2)), max_size=5), st.data()
)
def test_attribute_columns(said: list[dict[str, str]], data: st.DataObject) -> None:
    """One coded column an attribute that some row has, sorted; null where a row has it not."""
    table = EntityTable()
    for key, attributes in enumerate(said):
        table.add(key, attributes)
    rows = data.draw(st.lists(st.integers(-1, len(said) - 1), max_size=10))
    columns = table.columns(np.array(rows, np.int32))
    assert list(columns) == sorted({n for r in rows if r >= 0 for n in said[r]})
    for name, column in columns.items():
        column.validate(full=True)
        assert column.to_pylist() == [said[r].get(name) if r >= 0 else None for r in rows]
        assert len(set(column.dictionary.to_pylist())) == len(column.dictionary)
