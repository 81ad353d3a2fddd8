"""``head``: a fixed part, unbiased, and never an error lost."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tapio.model.when import When
from tapio.sample.head import Head
from tapio.sample.priority import Priority
from tapio.sample.thinning import chosen
from tests.batches import counting
from tests.sample.context import context
from tests.sample.flow import SECOND, deviations, rows, steady, unbiased

SEEDS = 200
FLOW = steady({("a.b", 0): 500, ("a.b", 1): 40, ("c.d", 2): 200}, 4)


@pytest.mark.parametrize("spec", [{"ratio": 0.5}, {"ratio": 0.03}, {"every": 2}, {"every": 40}])
def test_weighted_sums_are_unbiased(spec) -> None:
    """Over many seeds Σ weight out is Σ weight in, in each stratum."""
    z = deviations(lambda seed: Head(**spec, seed=seed).start(context()), FLOW, SEEDS)
    assert unbiased(z), z


def test_the_test_finds_a_bias(monkeypatch) -> None:
    """Rows that stay two in a hundred less often than their weights say are found out."""

    def too_seldom(batch, chance, random):
        return chosen(batch, np.flatnonzero(random.random(batch.rows) < 0.98 * chance), chance)

    monkeypatch.setattr("tapio.sample.head.thinned", too_seldom)
    z = deviations(lambda seed: Head(ratio=0.5, seed=seed).start(context()), FLOW, SEEDS)
    assert not unbiased(z), z


def test_keeps_the_ratio() -> None:
    """About the part that was asked for stays, each row with the weight of those it stands for."""
    out = Head(ratio=0.1, seed=3).start(context()).step(counting("a.b", 60_000), SECOND)
    assert abs(out.rows - 6000) < 5 * np.sqrt(60_000 * 0.1 * 0.9)
    assert set(out.weights.tolist()) == {10.0}


def test_every_is_exact_and_goes_on_over_batches() -> None:
    """One row in three stays, whatever the batches' sizes, each topic counted for itself."""
    stage = Head(every=3, seed=1).start(context())
    kept = {"a": [], "b": []}
    start = 0
    for size in (1, 2, 7, 1, 1, 30, 18):
        for topic in kept:
            out = stage.step(counting(topic, size, start), SECOND)
            kept[topic] += out["n"].tolist()
            assert set(out.weights.tolist()) <= {3.0}
        start += size
    for numbers in kept.values():
        assert len(numbers) == 20
        assert set(np.diff(numbers)) == {3}


def test_a_ratio_of_one_keeps_all() -> None:
    """All rows stay, with a weight of 1, so that the schema is that of a thinned batch."""
    batch = counting("a.b", 5)
    kept = [
        Head(ratio=1, seed=1).start(context()).step(batch, SECOND),
        Head(every=1, seed=1).start(context()).step(batch, SECOND),
        Head(ratio=0.5, seed=1).start(context()).step(batch, SECOND),
    ]
    assert [b.rows for b in kept[:2]] == [5, 5]
    assert kept[0].weights.tolist() == [1.0] * 5
    assert len({b.schema for b in kept}) == 1


@pytest.mark.parametrize(
    "spec", [Head(ratio=1e-6, seed=1), Head(every=10_000, seed=1), Priority(ratio=1e-6, seed=1)]
)
def test_errors_always_stay(spec) -> None:
    """Rows of severity ≥ error stay in order, with the weight they had."""
    severity = [17, 9, 24, 16, 17] * 20
    weights = np.arange(1.0, 101.0)
    out = spec.start(context()).step(
        rows("a.b", [0] * 100, severity=severity, weights=weights), SECOND
    )
    wanted = [i for i, s in enumerate(severity) if s >= 17]
    assert [s for s in out["seq"].tolist() if severity[s] >= 17] == wanted
    assert [w for w, s in zip(out.weights, out["seq"], strict=True) if severity[s] >= 17] == [
        i + 1.0 for i in wanted
    ]


def test_weights_multiply() -> None:
    """A row that stood for others stands for more behind a second sampler."""
    stage = Head(ratio=0.5, seed=1).start(context())
    out = stage.step(rows("a.b", [0] * 50, weights=np.full(50, 4.0)), SECOND)
    assert set(out.weights.tolist()) == {8.0}


def test_priority_keeps_what_matters() -> None:
    """What ``keep`` chooses stays with its weight, the others at the ratio, unbiased."""
    keep = When(field="entity", eq=1)
    stage = Priority(ratio=0.1, keep=keep, seed=2).start(context())
    out = stage.step(rows("a.b", [0, 1] * 5000), SECOND)
    important = out["entity"] == 1
    assert important.sum() == 5000
    assert set(out.weights[important]) == {1.0}
    assert set(out.weights[~important]) == {10.0}
    z = deviations(lambda s: Priority(ratio=0.2, keep=keep, seed=s).start(context()), FLOW, SEEDS)
    assert z.pop(("a.b", 1)) == 0.0
    assert unbiased(z), z


def test_seeds_and_stages_draw_for_themselves() -> None:
    """A seed draws the same again; another seed, process or stage draws otherwise."""

    def drawn(seed: int | None, **where: str) -> list[int]:
        stage = Head(ratio=0.5, seed=seed).start(context(**where))
        return stage.step(counting("a.b", 200), SECOND)["n"].tolist()

    assert drawn(1) == drawn(1)
    different = [drawn(1), drawn(2), drawn(None), drawn(None, epoch="a" * 16), drawn(1, stage="x")]
    assert len({tuple(d) for d in different}) == 5


@pytest.mark.parametrize("config", [{}, {"ratio": 0.5, "every": 2}, {"ratio": 0}, {"every": 0}])
def test_refuses(config) -> None:
    """Neither, both, or nothing at all is an error of the configuration."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"type": "head", **config}, Head)
