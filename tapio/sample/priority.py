"""``priority``: says what is never sampled out, and keeps a part of the rest."""

from __future__ import annotations

import numpy as np

from tapio.model.batch import Batch
from tapio.model.stage import Context, Sample, Stateful
from tapio.model.when import When
from tapio.sample.thinning import Ratio, exempt, generator, thinned


class Priority(Sample, frozen=True, tag="priority"):
    """Keeps rows of severity ≥ error and all that ``keep`` chooses; of others, ``ratio``.

    Each of the others stays with that probability, independently. What is kept for its
    importance keeps its weight. The same ``seed`` draws the same again; without one, each
    process draws its own.
    """

    ratio: Ratio
    keep: When | None = None
    seed: int | None = None

    def start(self, cx: Context) -> Stateful:
        """Start it."""
        return Ranked(self, generator(self.seed, cx))


class Ranked:
    """A running ``priority``."""

    def __init__(self, spec: Priority, random: np.random.Generator) -> None:
        self._spec = spec
        self._random = random

    def step(self, batch: Batch, now_ns: int) -> Batch:
        """The rows that stay."""
        important = exempt(batch, self._spec.keep)
        return thinned(batch, np.where(important, 1.0, self._spec.ratio), self._random)
