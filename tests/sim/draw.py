"""Draws the parts of a world: scripts, moods, spells, conditions, limits, ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from tapio.model.policy import Bounds, Breaker, Memory, Parking, Rate, Retry, Settings
from tapio.model.schema import ERROR, INFO
from tapio.model.when import When
from tests.sim.books import Books, Uids
from tests.sim.ends import Drops, Spell
from tests.sim.stages import TOPICS, Mood

Wants = Callable[[Books, Uids], Any]
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Ends:
    """How a run is ended from outside; a time of None means not at all."""

    stop_s: float | None
    again_s: float | None
    """A second stop."""
    kill: str
    """How it is killed: not at all, by ``cancel`` or by ``sigkill``."""
    kill_turn: int


def ends(random: Random, *, endless: bool) -> Ends:
    """Stops at any time, some twice or before anything opens; one seed in 20 is killed."""
    stop = random.uniform(0.0, 4.0) if endless or random.random() < 0.4 else None
    if stop is not None and random.random() < 0.05:
        stop = 0.0
    again = None if stop is None or random.random() < 0.8 else stop + random.random()
    kill = random.choice(["cancel", "sigkill"]) if random.random() < 0.05 else ""
    return Ends(stop, again, kill, random.randint(1, 300))


def settings(random: Random, *, sheds: bool) -> Settings:
    """Small bounds; small memory where rows are to be shed."""
    soft = random.randint(2_000, 20_000)
    small = Memory(soft=soft, hard=soft + random.randint(0, 6_000))
    return Settings(
        channel=Bounds(rows=random.choice([5, 40, 1000])),
        memory=small if sheds else Memory(),
        parking=Parking(rows=random.choice([5, 50, 1000]), age_s=random.uniform(0.1, 1.5)),
        stop_s=random.uniform(0.1, 0.6),
        drain_s=random.choice([0.3, 1.0, 3.0]),
        fuse=random.random() < 0.7,
    )


def script(random: Random) -> list[Drops | float]:
    """Up to 24 batches with pauses between them."""
    hot, large = random.choice([0.0, 0.05, 0.3]), random.choice([3, 12, 40])
    pause = random.choice([0.0, 0.02, 0.3])
    topics = random.sample(range(2), random.randint(1, 2))
    said: list[Drops | float] = []
    for _ in range(random.randint(1, 24)):
        if pause and random.random() < 0.6:
            said.append(random.random() * pause)
        rows = random.randint(1, large)
        keys = [random.randrange(60) for _ in range(rows)]
        severities = [ERROR if random.random() < hot else INFO for _ in range(rows)]
        said.append(Drops(random.choice(topics), keys, severities))
    return said


def mood(random: Random) -> Mood:
    """Most stages never fail, some now and then, a few for ever."""
    drawn = Mood(Random(random.random()))
    kind = random.random()
    if kind < 0.15:
        drawn.share = random.choice([0.05, 0.3])
    elif kind < 0.18:
        drawn.for_ever_from = random.uniform(0, 2)
    return drawn


def known_at(random: Random) -> tuple[float, ...]:
    """From when on a key is known to a lookup; some at once, some never."""
    never = random.choice([0.0, 0.1, 0.5])
    late = [NEVER if random.random() < never else 3 * random.random() for _ in range(9)]
    return (*late, 0.0, 0.0)


def sink(random: Random) -> dict[str, Any]:
    """Bounds and policies of a sink."""
    return {
        "max_rows": random.choice([1, 5, 20, 1000]),
        "max_bytes": random.choice([100, 1000, 1 << 20]),
        "max_age_s": random.choice([0.01, 0.1, 0.5]),
        "on_full": random.choice(["block", "block", "drop_oldest", "drop_newest"]),
        "channel": Bounds(
            rows=random.choice([1, 10, 60, 1000]), bytes=random.choice([500, 4000, 1 << 20])
        ),
        "retry": Retry(initial_s=random.uniform(0.01, 0.2), max_s=random.uniform(0.1, 1.0)),
        "breaker": Breaker(
            failures=random.randint(1, 6),
            ratio=random.choice([0.3, 0.5, 1.0]),
            window=random.randint(2, 20),
            reopen_s=random.uniform(0.1, 1.0),
        ),
        "rate": _rate(random),
        "concurrency": random.choice([1, 1, 2, 4]),
    }


def _rate(random: Random) -> Rate:
    if random.random() < 0.85:
        return Rate()
    rows, size = random.choice([0, 50, 500]), random.choice([0, 3000, 50_000])
    return Rate(rows_per_s=rows, bytes_per_s=size)


def spells(random: Random) -> list[Spell]:
    """How a sink behaves over time; seven in ten end up well."""
    count = random.choice([0, 1, 2])
    said = sorted([_spell(random, 3 * random.random()) for _ in range(count)], key=_until)
    return [*said, _spell(random, NEVER) if random.random() < 0.3 else Spell(NEVER, {}, 0.0)]


def _until(spell: Spell) -> float:
    return spell.until


def _spell(random: Random, until: float) -> Spell:
    takes = random.choice([0.0, 0.0, 0.01, 0.05, 0.2, 4.0 if random.random() < 0.3 else 0.05])
    kind = random.choice(["fine", "down", "mixed", "mixed", "mixed", "odd"])
    if kind == "fine":
        return Spell(until, {}, takes)
    if kind == "down":
        return Spell(until, {random.choice(["busy", "down"]): 1.0}, takes)
    if kind == "odd":
        odd = random.choice(["breaks", "rejects", "down"])
        return Spell(until, {odd: random.choice([0.3, 1.0])}, takes)
    known = ["busy", "down", "rejects", "masks", "counts", "breaks", "nonsense", "quits"]
    answers = random.sample(known, 3)
    shares = {answer: 0.3 * random.random() for answer in answers}
    if random.random() < 0.1:
        shares["closes"] = 0.05
    return Spell(until, shares, takes)


def condition(random: Random, depth: int = 0) -> tuple[When, Wants]:
    """A condition, and what it means in the books' own words."""
    kind = random.choice(["all", "all", "topic", "severity", "key", "not", "any"])
    if kind == "all" or depth > 1:
        return When(all=()), lambda b, u: np.ones(len(u), bool)
    if kind == "topic":
        chosen = random.randrange(len(TOPICS))
        return When(topic=(TOPICS[chosen].topic,)), lambda b, u: b.topic[u] == chosen
    if kind == "severity":
        return When(severity=ERROR), lambda b, u: b.severity[u] >= ERROR
    if kind == "key":
        limit = random.randrange(60)
        return When(field="key", lt=limit), lambda b, u: b.key[u] < limit
    first, wants = condition(random, depth + 1)
    if kind == "not":
        return When(not_=first), lambda b, u: ~wants(b, u)
    second, also = condition(random, depth + 1)
    return When(any=(first, second)), lambda b, u: wants(b, u) | also(b, u)
