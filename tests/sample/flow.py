"""Batches for samplers, and the test that their weighted sums are unbiased."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from tapio.model.batch import Batch
from tapio.model.entities import EntityTable
from tapio.model.schema import ENTITY, WEIGHT, Schema
from tapio.model.stage import Stateful

SECOND = 1_000_000_000
Z_MOST = 4.5
"""A right sampler is beyond it in one of 150,000 comparisons; the seeds are fixed."""

Stratum = tuple[str, int]
Moment = tuple[int, Batch]
"""Nanoseconds, and a batch that comes then."""


@cache
def table(entities: int = 64) -> EntityTable:
    """A table of so many containers."""
    made = EntityTable()
    for number in range(entities):
        made.add(number, {"container.id": f"c{number}"})
    return made


def rows(
    topic: str,
    entities: Sequence[int] | npt.NDArray[np.integer],
    *,
    severity: int | Sequence[int] = 9,
    weights: npt.NDArray[np.float64] | None = None,
    of: EntityTable | None = None,
) -> Batch:
    """One row an entity code, numbered by ``seq``."""
    count = len(entities)
    batch = Batch(
        Schema.of(topic),
        {
            "time_ns": np.zeros(count, np.int64),
            "seq": np.arange(count, dtype=np.uint64),
            "severity": np.broadcast_to(np.asarray(severity, np.uint8), count),
        },
    ).with_columns({ENTITY: np.asarray(entities, np.int32)}, of or table())
    return batch if weights is None else batch.with_columns({WEIGHT: weights})


def steady(
    rates: dict[Stratum, float], seconds: float, every_s: float = 0.05, seed: int = 0
) -> list[Moment]:
    """A batch a topic every ``every_s``, of Poisson many rows a stratum, mixed."""
    random = np.random.default_rng(seed)
    moments = []
    for turn in range(round(seconds / every_s)):
        now = SECOND + round(turn * every_s * SECOND)
        codes = defaultdict(list)
        for (topic, entity), rate in rates.items():
            codes[topic] += [entity] * random.poisson(rate * every_s)
        moments += [(now, rows(t, random.permutation(c))) for t, c in codes.items()]
    return moments


def totals(batches: Iterable[Batch]) -> Counter[Stratum]:
    """Σ weight of each stratum."""
    sums: Counter[Stratum] = Counter()
    for batch in batches:
        by_code = np.bincount(batch["entity"], batch.weights)
        for code in np.flatnonzero(by_code).tolist():
            sums[batch.topic, code] += float(by_code[code])
    return sums


def counts(batches: Iterable[Batch]) -> Counter[Stratum]:
    """Rows of each stratum."""
    found: Counter[Stratum] = Counter()
    for batch in batches:
        found.update((batch.topic, code) for code in batch["entity"].tolist())
    return found


def run(stages: Stateful | Sequence[Stateful], moments: Iterable[Moment]) -> list[Batch]:
    """What comes out of the stages, one behind another."""
    chain = stages if isinstance(stages, Sequence) else [stages]
    out = []
    for now, batch in moments:
        kept = batch
        for stage in chain:
            kept = stage.step(kept, now)
        out.append(kept)
    return out


def deviations(
    make: Callable[[int], Stateful | Sequence[Stateful]], moments: list[Moment], seeds: int
) -> dict[Stratum, float]:
    """The z of each stratum: how many standard errors Σ weight out is off Σ weight in.

    Over ``seeds`` runs of the same input, the mean of the differences divided by its standard
    error, which is taken from the runs themselves. A stratum always kept whole has z 0 if it
    is right and infinite if it is not.
    """
    right = totals(batch for _, batch in moments)
    found = [totals(run(make(seed), moments)) for seed in range(seeds)]
    z = {}
    for stratum, true in right.items():
        off = np.array([sums[stratum] - true for sums in found])
        error = float(off.std(ddof=1)) / np.sqrt(seeds)
        mean = float(off.mean())
        exact = abs(mean) < 1e-9 * true
        z[stratum] = 0.0 if exact else mean / error if error > 1e-12 * true else np.inf
    return z


def unbiased(z: dict[Stratum, float]) -> bool:
    """Whether no stratum is far off, nor all of them together, squared or summed."""
    every = np.array(list(z.values()))
    size = len(every)
    return bool(
        np.abs(every).max() < Z_MOST
        and abs(every.sum()) < Z_MOST * np.sqrt(size)
        and (every**2).sum() < size + Z_MOST * np.sqrt(2 * size) + Z_MOST**2
    )
