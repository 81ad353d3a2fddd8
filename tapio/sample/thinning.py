"""What samplers share: rows that always stay, and how the others are thinned out (rule 6).

A row that stays with probability p has its weight multiplied by 1 / p. Given p, it is expected
to add p · (w / p) + (1 - p) · 0 = w to any weighted sum, as if it had not been sampled. That
holds for every sum over every group of rows, for samplers behind one another, and wherever p
comes from, as long as p > 0 and the draw that decides about a row is independent of its p.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from tapio.model.batch import Batch
from tapio.model.schema import ERROR, WEIGHT
from tapio.model.stage import Context
from tapio.model.when import When

Ratio: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1)]
"""A part of the rows; not 0, for no weight could make up for rows that never stay."""


def generator(seed: int | None, cx: Context) -> np.random.Generator:
    """Random numbers of this stage alone; the same again for the same ``seed``.

    Without a seed the process's epoch is taken, so that nodes do not draw alike. The stage's
    name goes in because two samplers that drew the same numbers would not be independent.
    """
    origin = cx.origin.epoch if seed is None else seed
    digest = blake2b(f"{origin}/{cx.pipeline}/{cx.stage}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.SFC64(int.from_bytes(digest)))


def exempt(batch: Batch, keep: When | None = None) -> npt.NDArray[np.bool_]:
    """The rows that always stay: severity ≥ error, and what ``keep`` chooses."""
    severe = np.asarray(batch["severity"] >= ERROR)
    return severe if keep is None else severe | keep.mask(batch)


def thinned(batch: Batch, chance: npt.NDArray[np.float64], random: np.random.Generator) -> Batch:
    """The rows that stay, each with its own ``chance`` (0 < p ≤ 1), and their new weights."""
    return chosen(batch, np.flatnonzero(random.random(batch.rows) < chance), chance)


def chosen(batch: Batch, index: npt.NDArray[np.intp], chance: npt.NDArray[np.float64]) -> Batch:
    """The rows ``index``, their weights divided by their ``chance`` (one a row of ``batch``)."""
    kept = batch if len(index) == batch.rows else batch.take(index)
    return kept.with_columns({WEIGHT: batch.weights[index] / chance[index]})


def whole(batch: Batch) -> Batch:
    """All rows. They carry a weight too, so that a topic's schema does not come and go."""
    return batch.with_columns({WEIGHT: batch.weights})
