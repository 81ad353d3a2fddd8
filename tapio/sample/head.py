"""``head``: keeps a fixed part of all rows."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np

from tapio.model.batch import Batch
from tapio.model.stage import Context, Sample, Stateful
from tapio.sample.thinning import Ratio, chosen, exempt, generator, thinned, whole


class Head(Sample, frozen=True, tag="head"):
    """Keeps a part of the rows, chosen before anything is known of them.

    Either ``ratio``: each row stays with that probability, independently of all others; or
    ``every``: of each topic one row in so many, the first at random. The second is steadier in
    number, and misleads where the rows themselves come in a pattern of that length. Rows of
    severity ≥ error always stay. The same ``seed`` draws the same again; without one, each
    process draws its own. Topics of one event (exec and exit) are thinned apart.
    """

    ratio: Ratio | None = None
    every: Annotated[int, msgspec.Meta(ge=1)] | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if (self.ratio is None) == (self.every is None):
            raise ValueError("head needs exactly one of ratio and every")

    def start(self, cx: Context) -> Stateful:
        """Start it."""
        random = generator(self.seed, cx)
        return Part(self.ratio, random) if self.ratio else OneInSoMany(self.every or 1, random)


class Part:
    """Keeps each row with one probability."""

    def __init__(self, ratio: float, random: np.random.Generator) -> None:
        self._ratio = ratio
        self._random = random

    def step(self, batch: Batch, now_ns: int) -> Batch:
        """The rows that stay."""
        if self._ratio == 1:
            return whole(batch)
        return thinned(batch, np.where(exempt(batch), 1.0, self._ratio), self._random)


class OneInSoMany:
    """Keeps one row of every ``n`` of a topic; ``_next`` says how many pass before it."""

    def __init__(self, n: int, random: np.random.Generator) -> None:
        self._n = n
        self._random = random
        self._next: dict[str, int] = {}

    def step(self, batch: Batch, now_ns: int) -> Batch:
        """The rows that stay."""
        always = exempt(batch)
        others = np.flatnonzero(~always)
        first = self._next.get(batch.topic)
        if first is None:
            first = int(self._random.integers(self._n))
        kept = others[first :: self._n]
        self._next[batch.topic] = first + len(kept) * self._n - len(others)
        index = np.flatnonzero(always)
        index = np.sort(np.concatenate([index, kept])) if len(index) else kept
        return chosen(batch, index, np.where(always, 1.0, 1 / self._n))
