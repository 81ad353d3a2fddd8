"""``when:``: a small typed tree that chooses rows. Never evaluated code.

Exactly one form a node:

    {topic: [process, network.connect]}      rows of these topics or observers
    {severity: 17}                           rows of at least this severity
    {field: exit_code, ne: 0}                a column compared: eq ne lt le gt ge in
    {all: [...]}  {any: [...]}  {not: {...}}
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tapio.model.batch import Batch
from tapio.model.schema import matches

Value: TypeAlias = str | int | float | bool
Mask: TypeAlias = npt.NDArray[np.bool_]

_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}


class When(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"in_": "in", "not_": "not"},
):
    """One node of the tree; see the head of this file."""

    topic: tuple[str, ...] | None = None
    severity: int | None = None
    field: str | None = None
    eq: Value | None = None
    ne: Value | None = None
    lt: Value | None = None
    le: Value | None = None
    gt: Value | None = None
    ge: Value | None = None
    in_: tuple[Value, ...] | None = None
    all: tuple[When, ...] | None = None
    any: tuple[When, ...] | None = None
    not_: When | None = None

    def __post_init__(self) -> None:
        forms = (self.topic, self.severity, self.field, self.all, self.any, self.not_)
        if sum(form is not None for form in forms) != 1:
            raise ValueError("say exactly one of topic, severity, field, all, any, not")
        if self.field is None and self._comparisons():
            raise ValueError("eq, ne, lt, le, gt, ge and in need a field")
        if self.field is not None and len(self._comparisons()) != 1:
            raise ValueError("a field needs exactly one of eq, ne, lt, le, gt, ge, in")

    def _comparisons(self) -> list[str]:
        return [n for n in (*_COMPARE, "in_") if getattr(self, n) is not None]

    def mask(self, batch: Batch) -> Mask:
        """Which rows of ``batch`` it chooses. A column that is missing chooses none."""
        if self.topic is not None:
            return np.full(batch.rows, matches(batch.topic, self.topic))
        if self.severity is not None:
            return np.asarray(batch["severity"] >= self.severity)
        if self.not_ is not None:
            return ~self.not_.mask(batch)
        if self.field is not None:
            return self._compare(batch, self.field)
        if self.all is not None:
            return _fold(np.logical_and, True, self.all, batch)
        return _fold(np.logical_or, False, self.any or (), batch)

    def _compare(self, batch: Batch, name: str) -> Mask:
        if name not in batch:
            return np.zeros(batch.rows, bool)
        column = batch[name]
        test, value = next((n, getattr(self, n)) for n in self._comparisons())
        if isinstance(column, np.ndarray):
            return _compare_numbers(column, test, value)
        return _compare_text(column, test, value)


def _fold(
    join: Callable[[Mask, Mask], Mask], start: bool, nodes: tuple[When, ...], batch: Batch
) -> Mask:
    mask = np.full(batch.rows, start)
    for node in nodes:
        mask = join(mask, node.mask(batch))
    return mask


def _compare_numbers(column: npt.NDArray[Any], test: str, value: Any) -> Mask:
    """A value at a time, so that each is compared exactly; a text is chosen never."""
    compare = operator.eq if test == "in_" else _COMPARE[test]
    numbers = column.view(np.uint8) if column.dtype == np.bool_ else column
    chosen = np.zeros(len(column), bool)
    for one in value if test == "in_" else (value,):
        if not isinstance(one, str):
            chosen |= compare(numbers, float(one) if column.dtype.kind == "f" else one)
    return chosen


def _compare_text(column: pa.Array, test: str, value: Any) -> Mask:
    """Compared on the dictionary, once a distinct text, and then gathered; null is chosen never."""
    coded = column if isinstance(column.type, pa.DictionaryType) else column.dictionary_encode()
    texts = [
        t.decode(errors="replace") if isinstance(t, bytes) else t
        for t in coded.dictionary.to_pylist()
    ]
    if test == "in_":
        chosen = [t in value for t in texts]
    elif isinstance(value, str):
        chosen = [t is not None and bool(_COMPARE[test](t, value)) for t in texts]
    else:
        chosen = [False] * len(texts)
    hits = np.array([*chosen, False], bool)  # the last slot is null's
    index = pc.fill_null(coded.indices, len(texts)).to_numpy(zero_copy_only=False)
    return np.asarray(hits[index], bool)
