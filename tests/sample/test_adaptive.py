"""``adaptive``: unbiased, on target, fair, bounded, and the same again after a restart."""

from __future__ import annotations

import sys
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from tapio.model.entities import EntityTable
from tapio.model.schema import ERROR
from tapio.model.stage import Stateful
from tapio.model.when import When
from tapio.sample import adaptive
from tapio.sample.adaptive import Adaptive
from tapio.sample.budget import Budget
from tapio.sample.head import Head
from tapio.sample.thinning import chosen
from tests.sample.context import context
from tests.sample.flow import (
    SECOND,
    Moment,
    counts,
    deviations,
    rows,
    run,
    steady,
    table,
    totals,
    unbiased,
)

SEEDS = 120
UNEVEN = {("a.b", 0): 4000.0, ("a.b", 1): 400.0, ("a.b", 2): 5.0, ("c.d", 0): 900.0}
LONE = {("a.b", 0): 3000.0}


def start(seed: int = 0, target_per_s: float = 100, **spec) -> Stateful:
    """A running sampler."""
    return Adaptive(target_per_s, seed=seed, **spec).start(context())


def bursts() -> list[Moment]:
    """Quiet, then forty times as much, then quiet: in half a second each, with weights."""
    random = np.random.default_rng(5)
    moments = []
    for turn, rate in enumerate([10] * 10 + [400] * 10 + [10] * 10):
        codes = random.integers(0, 3, random.poisson(rate))
        weighty = random.uniform(0.5, 3, len(codes))
        moments.append((SECOND + turn * SECOND // 20, rows("a.b", codes, weights=weighty)))
    return moments


FLOWS: dict[str, tuple[list[Moment], float]] = {
    "uneven": (steady(UNEVEN, 2), 200),
    "lone": (steady(LONE, 2), 100),
    "hard": (steady(LONE, 2), 20),
    "mild": (steady(LONE, 2), 1000),
    "seldom": (steady(UNEVEN, 12, every_s=2.0), 150),
    "bursts": (bursts(), 60),
    "crowd": (steady({("a.b", code): 100.0 for code in range(40)}, 2), 300),
}


@pytest.mark.parametrize("name", FLOWS)
def test_weighted_sums_are_unbiased(name) -> None:
    """Over many seeds Σ weight out is Σ weight in, in each stratum, at steady rates and bursts."""
    moments, target = FLOWS[name]
    z = deviations(lambda seed: start(seed, target), moments, SEEDS)
    assert unbiased(z), z


def test_unbiased_behind_head() -> None:
    """Weights of two samplers multiply: behind both the sums are still those of the input."""

    def both(seed: int) -> list[Stateful]:
        return [
            Head(ratio=0.3, seed=seed).start(context(stage="head")),
            Adaptive(100, seed=seed).start(context(stage="adaptive")),
        ]

    z = deviations(both, FLOWS["uneven"][0], SEEDS)
    assert unbiased(z), z


def test_unbiased_in_a_shared_stratum() -> None:
    """Strata that found no slot of their own are thinned together, and none is wronged."""
    moments = FLOWS["crowd"][0]
    z = deviations(lambda seed: start(seed, 300, max_strata=4), moments, SEEDS)
    assert unbiased(z), z


def test_unbiased_under_pressure() -> None:
    """Pressure moves the target between batches, and the sums stay."""

    def pressed(seed: int) -> Stateful:
        ups = iter([0.9, 0.1] * 1000)
        return Adaptive(200, seed=seed).start(context(pressure=lambda: next(ups)))

    z = deviations(pressed, steady(LONE, 4), SEEDS)
    assert unbiased(z), z


def test_no_chance_is_ever_nothing(monkeypatch) -> None:
    """However small the target and however large the burst, each row may stay."""
    seen = []
    monkeypatch.setattr(adaptive, "thinned", lambda batch, chance, _: seen.append(chance) or batch)
    stage = start(target_per_s=0.01)
    run(stage, [(SECOND + turn, rows("a.b", np.zeros(60_000, int))) for turn in range(30)])
    assert len(seen) == 30
    assert min(chance.min() for chance in seen) > 0


def too_seldom(batch, chance, random):
    """A planted bias: rows stay two in a hundred less often than their weights say."""
    return chosen(batch, np.flatnonzero(random.random(batch.rows) < 0.98 * chance), chance)


def a_hard_limit(batch, chance, random):
    """A planted bias: at most 40 rows of a batch, the rest is cut off."""
    return chosen(batch, np.flatnonzero(random.random(batch.rows) < chance)[:40], chance)


def by_what_was_kept(batch, chance, random):
    """A planted bias: p is put right by how many rows the draw has kept."""
    index = np.flatnonzero(random.random(batch.rows) < chance)
    return chosen(batch, index, chance * (len(index) + 1) / (chance.sum() + 1))


@pytest.mark.parametrize("planted", [too_seldom, a_hard_limit, by_what_was_kept])
def test_the_test_finds_a_bias(monkeypatch, planted) -> None:
    """Each planted bias is found, the smallest of two in a hundred too."""
    monkeypatch.setattr(adaptive, "thinned", planted)
    moments, target = FLOWS["mild"]
    z = deviations(lambda seed: start(seed, target), moments, SEEDS)
    assert not unbiased(z), z


@pytest.mark.parametrize(
    ("rates", "every_s"),
    [
        (LONE, 0.05),
        (LONE, 1.0),
        ({("a.b", 0): 130.0}, 0.05),
        ({("a.b", 0): 50_000.0}, 0.05),
        (UNEVEN, 0.05),
        (UNEVEN, 0.5),
        (UNEVEN, 2.0),
        ({(topic, code): 50.0 for topic in ("a", "b", "c", "d") for code in range(16)}, 0.05),
    ],
)
def test_meets_its_target(rates, every_s) -> None:
    """Steady input comes out within a tenth of the target, whatever its rate and batches."""
    moments = steady(rates, 60, every_s)
    late = [b for (now, _), b in zip(moments, run(start(), moments), strict=True) if now > 20e9]
    assert abs(sum(b.rows for b in late) / 41 - 100) < 10


def test_below_its_target_nothing_is_thinned_out() -> None:
    """Where the input is below the target all rows stay, with weight 1."""
    moments = steady({("a.b", 0): 60.0, ("c.d", 1): 20.0}, 20)
    out = run(start(), moments)
    assert totals(out) == totals(b for _, b in moments)
    assert {w for b in out for w in b.weights.tolist()} == {1.0}
    assert all("weight" in b for b in out)


def test_shares_are_max_min_fair() -> None:
    """Strata below the fair level stay whole, those above get the level each."""
    rates = {("a.b", 0): 4000.0, ("a.b", 1): 400.0, ("a.b", 2): 5.0, ("c.d", 0): 900.0}
    moments = steady(rates, 120)
    out = run(start(target_per_s=155), moments)
    late = [b for (now, _), b in zip(moments, out, strict=True) if now > 20e9]
    shares = {stratum: found / 101 for stratum, found in counts(late).items()}
    assert counts(late)["a.b", 2] == sum(counts([b])["a.b", 2] for now, b in moments if now > 20e9)
    for stratum in (("a.b", 0), ("a.b", 1), ("c.d", 0)):
        assert abs(shares[stratum] - 50) < 5


def test_rare_kinds_stay_in_a_burst() -> None:
    """A stratum of one row a second is kept whole while another floods the node."""
    moments = []
    for turn in range(400):
        now = SECOND + turn * SECOND // 20
        flood = 60_000 if 100 < turn < 200 else 20
        moments.append((now, rows("a.b", np.zeros(flood, int))))
        if turn % 20 == 7:
            moments.append((now, rows("c.d", [1])))
    out = counts(run(start(), moments))
    assert out["c.d", 1] == 20


@pytest.mark.parametrize("filling", [0.01, 0.0, -1.0])
def test_rare_kinds_stay_when_all_is_spent(filling) -> None:
    """However little a burst has left over, a row of a rare kind at its end stays for sure."""
    stage = start(target_per_s=10)
    assert isinstance(stage, adaptive.Sampler)
    run(stage, steady(LONE, 10))
    stage._budget.filling = filling
    assert stage.step(rows("c.d", [1]), 11 * SECOND).weights.tolist() == [1.0]


def test_a_burst_is_bounded() -> None:
    """Over any time T at most (T + window) · target, but for chance and a row a stratum."""
    quiet = [(SECOND + turn * SECOND // 20, rows("a.b", [0])) for turn in range(400)]
    began = quiet[-1][0]
    flood = [
        (began + turn * SECOND // 20, rows("a.b", np.zeros(50_000, int))) for turn in range(200)
    ]
    kept = [b.rows for b in run(start(window_s=5), quiet + flood)][400:]
    assert max(kept) < 300
    for seconds in (1, 2, 5, 10):
        most = max(sum(kept[i : i + 20 * seconds]) for i in range(len(kept)))
        assert most < (seconds + 5) * 100 * 1.05


def test_errors_and_chosen_rows_stay_outside_the_budget() -> None:
    """Rows of severity ≥ error, and those of ``keep``, all stay and cost the others nothing."""
    random = np.random.default_rng(1)
    moments = []
    for turn in range(1200):
        severity = random.choice([9, ERROR, 21], 200, p=[0.5, 0.3, 0.2])
        batch = rows("a.b", random.integers(0, 2, 200), severity=severity)
        moments.append((SECOND + turn * SECOND // 20, batch))
    spec = Adaptive(100, keep=When(field="entity", eq=1), seed=1)
    out = run(spec.start(context()), moments)
    for now_batch, kept in zip(moments, out, strict=True):
        batch = now_batch[1]
        always = (batch["severity"] >= ERROR) | (batch["entity"] == 1)
        stays = (kept["severity"] >= ERROR) | (kept["entity"] == 1)
        assert kept["seq"][stays].tolist() == batch["seq"][always].tolist()
        assert set(kept.weights[stays].tolist()) <= {1.0}
    late = sum(int(((b["severity"] < ERROR) & (b["entity"] == 0)).sum()) for b in out[400:])
    assert abs(late / 40 - 100) < 10


def test_no_entity_is_one_stratum() -> None:
    """A topic whose rows have no entity is one stratum; unknown entities are one of a topic."""
    bare = rows("a.b", [0] * 9000).without(["entity"])
    unknown = rows("c.d", [-1] * 9000)
    moments = [(SECOND + turn * SECOND // 20, b) for turn in range(600) for b in (bare, unknown)]
    out = run(start(), moments)
    late = [sum(b.rows for b in out[400:] if b.topic == topic) for topic in ("a.b", "c.d")]
    assert abs(late[0] - late[1]) < 0.1 * late[0]


def test_a_new_epoch_knows_its_entities() -> None:
    """In the next entity table the same container has the same stratum, under another code."""
    first = table()
    after = EntityTable()
    for number in reversed(range(64)):
        after.add(number, first[number])
    stage = start(target_per_s=50)
    run(stage, steady({("a.b", 3): 2000.0, ("a.b", 5): 1.0}, 20))
    code = 63 - 3
    out = stage.step(rows("a.b", [code] * 100, of=after), 21 * SECOND)
    assert out.rows < 30
    assert stage.step(rows("a.b", [63 - 5], of=after), 21 * SECOND).weights.tolist() == [1.0]


def test_tables_grow() -> None:
    """Entities that join later get strata of their own, and rows without one keep theirs."""
    grows = EntityTable()
    stage = start(target_per_s=1e9)
    for number in range(300):
        grows.add(number, {"container.id": str(number)})
        out = stage.step(rows("a.b", [*range(number + 1), -1], of=grows), SECOND + number)
        assert out.rows == number + 2
    assert isinstance(stage, adaptive.Sampler)
    assert len(stage._strata.counts()) == 301


def test_strata_are_bounded() -> None:
    """Ten thousand strata in eight slots; those that fall silent make room for the next."""
    stage = start(target_per_s=1e9, max_strata=8)
    assert isinstance(stage, adaptive.Sampler)
    many = table(10_000)
    run(stage, [(SECOND, rows("a.b", np.arange(10_000), of=many))])
    assert len(stage._strata.counts()) == 7
    assert stage._strata.rows.shape == (8,)
    late = [(100 * SECOND + turn * SECOND, rows("a.b", [9_999], of=many)) for turn in range(3)]
    run(stage, late)
    assert len(stage._strata.counts()) == 1
    assert stage._strata.rows[0] < 1


def pressed(levels: list[float]) -> tuple[Budget, list[float]]:
    """A budget that passes a second at each pressure, and what it aims at then."""
    now = [0.0]
    budget = Budget(100, 5, lambda: now[0])
    aims = []
    for now[0] in levels:
        budget.pass_time(1)
        budget.filling = 0.5
        aims.append(budget.per_s)
    return budget, aims


def test_pressure_halves_the_target() -> None:
    """Above 0.8 it halves each second, between it holds, below 0.5 it comes back."""
    assert pressed([0.7, 0.81, 0.9, 0.7, 0.5, 0.49, 0.3, 0.0])[1] == [
        *(100, 50, 25, 25, 25, 50, 100, 100),
    ]
    assert pressed([2.0] * 20)[1][-1] == 100 / 64


def test_pressure_acts_once_a_second() -> None:
    """Many batches in one second halve the target once."""
    budget = Budget(100, 5, lambda: 0.9)
    for _ in range(15):
        budget.pass_time(0.1)
    budget.filling = 0.5
    assert budget.per_s == 25


def test_pressure_lets_less_through() -> None:
    """Under lasting pressure a running sampler keeps a small part of its target."""
    moments = steady(LONE, 40)
    stage = Adaptive(100, seed=1).start(context(pressure=lambda: 0.95))
    late = [b for (now, _), b in zip(moments, run(stage, moments), strict=True) if now > 20e9]
    assert sum(b.rows for b in late) / 21 < 100 / 64 * 1.5


def test_a_clock_set_back_stops_nothing() -> None:
    """Time that jumps back an hour, or ahead a year, leaves the target met afterwards."""
    stage = start()
    for jump in (0, -3600, 365 * 86_400):
        moved = [(now + (10_000 + jump) * SECOND, b) for now, b in steady(LONE, 30)]
        out = run(stage, moved)
        assert abs(sum(b.rows for b in out[200:]) / 20 - 100) < 12


def test_the_same_seed_draws_the_same() -> None:
    """Two samplers of one seed keep the same rows, two of different seeds do not."""
    moments = steady(UNEVEN, 2)
    kept = [[b["seq"].tolist() for b in run(start(seed), moments)] for seed in (1, 1, 2)]
    assert kept[0] == kept[1] != kept[2]


def calls(act: Callable[[], object]) -> int:
    """How many functions, of Python and of C, ``act`` calls."""
    found = 0

    def count(frame, event, argument) -> None:
        nonlocal found
        found += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize("target", [1e9, 100])
def test_work_in_python_does_not_grow_with_rows(target) -> None:
    """A batch of 60,000 rows takes as many calls as one of 600."""
    taken = []
    for size in (600, 60_000):
        stage = start(target_per_s=target)
        batch = rows("a.b", np.arange(size) % 60)
        stage.step(batch, SECOND)
        taken.append(calls(lambda s=stage, b=batch: s.step(b, 2 * SECOND)))
    assert taken[0] == taken[1]


@pytest.mark.parametrize("config", [{}, {"target_per_s": 0}, {"target_per_s": 1, "max_strata": 1}])
def test_refuses(config) -> None:
    """A target is needed, above 0, and room for more than the shared stratum."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"type": "adaptive", **config}, Adaptive)
