"""What the columns of made-up rows hold: seeded, and the same however they are cut."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tapio.model.columns import Column
from tapio.model.schema import TEXT, Field

Maker: TypeAlias = Callable[[int], Column]
"""Makes the next n values of a column."""

Kind: TypeAlias = Literal[
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float32", "float64", "text", "string", "binary",
]  # fmt: skip
Length: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65_536)]


class Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a made-up column holds.

    Integers are spread evenly over ``min`` to ``max``, floats too, without ``max`` itself.
    ``cardinality`` is how many different values there are; 0 sets no limit for numbers, and
    means 100 for texts and bytes, which are ``min_length`` to ``max_length`` bytes long (longer
    where there would be too few of them).
    """

    name: str
    type: Kind
    min: int | float = 0
    max: int | float = 100
    cardinality: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    min_length: Length = 4
    max_length: Length = 16
    unit: str = ""
    attribute: str = ""

    def __post_init__(self) -> None:
        if self.min_length > self.max_length:
            raise ValueError(f"column {self.name!r}: min_length is above max_length")
        if not -math.inf < self.min <= self.max < math.inf:
            raise ValueError(f"column {self.name!r}: min is above max, or one is no number")
        if self.type[:3] in ("int", "uin"):
            limits = np.iinfo(self.type)
            if math.ceil(self.min) > math.floor(self.max):
                raise ValueError(f"column {self.name!r}: min is above max in whole numbers")
            if self.min < limits.min or self.max > limits.max:
                raise ValueError(f"column {self.name!r}: min or max is beyond {self.type}")

    @property
    def field(self) -> Field:
        """The schema's field."""
        return Field(self.name, self.type, self.unit, self.attribute)


def maker(values: Values, seed: tuple[int, ...]) -> Maker:
    """Makes the column, always the same for one ``seed``."""
    random = np.random.Generator(np.random.PCG64(seed))
    if values.type in TEXT:
        return _texts(values, random)
    if values.cardinality:
        pool = _numbers(values, random)(values.cardinality)
        return lambda rows: pool[random.integers(0, len(pool), rows)]
    return _numbers(values, random)


def chosen(shares: dict[int, float], seed: tuple[int, ...]) -> Maker:
    """Makes a uint8 column of the keys, each as often as its share of all shares."""
    random = np.random.Generator(np.random.PCG64(seed))
    keys = np.array(list(shares), np.uint8)
    bounds = np.cumsum(list(shares.values()), dtype=np.float64)
    bounds /= bounds[-1]
    return lambda rows: keys[np.searchsorted(bounds, random.random(rows), side="right")]


def _numbers(values: Values, random: np.random.Generator) -> Callable[[int], npt.NDArray[Any]]:
    dtype = np.dtype(values.type)
    if dtype.kind == "b":
        return lambda rows: random.random(rows) < 0.5
    if dtype.kind == "f":
        span = values.max - values.min
        return lambda rows: (values.min + span * random.random(rows)).astype(dtype)
    low, high = math.ceil(values.min), math.floor(values.max)
    wide = np.uint64 if high >= 1 << 63 else np.int64
    return lambda rows: random.integers(low, high, rows, wide, endpoint=True).astype(dtype)


def _texts(values: Values, random: np.random.Generator) -> Maker:
    pool = pa.array(_words(values, random), pa.binary())
    if values.type != "binary":
        pool = pool.cast(pa.string())

    def codes(rows: int) -> pa.Array:
        return pa.array(random.integers(0, len(pool), rows).astype(np.int32))

    if values.type == "text":
        return lambda rows: pa.DictionaryArray.from_arrays(codes(rows), pool)
    return lambda rows: pool.take(codes(rows))


def _words(values: Values, random: np.random.Generator) -> list[bytes]:
    """Different words of the wanted lengths: a number in letters, then letters by chance."""
    count = values.cardinality or 100
    digits = math.ceil(math.log(count, 26))
    lengths = random.integers(values.min_length, values.max_length, count, endpoint=True)
    letters = random.integers(97, 123, int(lengths.max()) + count, dtype=np.uint8).tobytes()
    return [
        _lettered(number, digits) + letters[number : number + max(0, length - digits)]
        for number, length in enumerate(lengths.tolist())
    ]


def _lettered(number: int, digits: int) -> bytes:
    """``number`` to the base of 26, in ``digits`` letters."""
    return bytes(97 + number // 26**place % 26 for place in range(digits))
