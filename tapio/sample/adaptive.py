"""``adaptive``: keeps about so many rows a second, shared fairly, with unbiased weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated
from zlib import crc32

import msgspec
import numpy as np
import numpy.typing as npt

from tapio.model.batch import Batch
from tapio.model.errors import DecodeError
from tapio.model.policy import Seconds
from tapio.model.stage import Context, Sample, Stateful
from tapio.model.when import When
from tapio.sample.budget import Budget, fair_level
from tapio.sample.strata import Strata
from tapio.sample.thinning import exempt, generator, thinned, whole

_MAGIC = b"tapio adaptive 1\n"

_START_S = 0.1
"""Part of a window that a rate is measured over at least: the first batch has no time behind it."""


class Adaptive(Sample, frozen=True, tag="adaptive"):
    """Keeps about ``target_per_s`` rows a second; each kept row stands for 1 / p rows.

    Strata are the (topic, entity) pairs. Each has a rate, remembered for ``window_s``; rates
    share the target max-min fairly: a stratum below the fair level is kept whole, so rare
    kinds stay, and the others are thinned down to that level. Rows of severity ≥ error and
    what ``keep`` chooses always stay, and are no part of the target.

    *Unbiased.* The p of a stratum in a batch follows from past counts, past p, the pressure and
    how many rows of each stratum the batch has, all of them fixed before a random number is
    drawn, and from nothing that the draws for this batch decide. It is one p for all rows of a
    stratum, never 0, and each row is drawn for independently (Poisson sampling). So, given
    everything before, each row's expected weight after is its weight before, and with that the
    expected Σ weight out is Σ weight in, in each stratum and batch, however p reacts.

    *On target.* A bucket fills at the target and holds ``window_s`` of it. What is aimed at
    is twice the target when it is full, the target when half full; what is expected to be kept
    is taken out. Wrong estimates therefore correct themselves. A burst takes at most half of
    what the bucket holds in one batch (and one row a stratum, for p stays above 0): over any
    time T at most (T + ``window_s``) · target, but for chance and that one row. Where batches
    come further apart than half a window, less than the target is kept.

    *Bounded.* ``max_strata`` at most are told apart; more share one stratum until others have
    been silent. Pressure above 0.8 halves the target each second, down to 1/64; below 0.5 it
    comes back. The same ``seed`` draws the same again; without one, each process draws its own.
    """

    target_per_s: Annotated[float, msgspec.Meta(gt=0)]
    window_s: Seconds = 5.0
    keep: When | None = None
    max_strata: Annotated[int, msgspec.Meta(ge=2, le=65_536)] = 4096
    seed: int | None = None

    def start(self, cx: Context) -> Stateful:
        """Start it; what runs has ``snapshot`` and ``restore`` too."""
        return Sampler(self, generator(self.seed, cx), cx.pressure)


class Saved(msgspec.Struct, array_like=True, frozen=True):
    """What a snapshot holds: counts by stratum, the bucket, when, and the random state."""

    strata: list[tuple[str, Annotated[bytes, msgspec.Meta(max_length=8)], float]]
    filling: float
    age_s: float
    now_ns: int
    random: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Sampler:
    """A running ``adaptive``; it sees the batches of all topics."""

    def __init__(
        self, spec: Adaptive, random: np.random.Generator, pressure: Callable[[], float]
    ) -> None:
        self._window_s = spec.window_s
        self._keep = spec.keep
        self._random = random
        self._strata = Strata(spec.max_strata)
        self._budget = Budget(spec.target_per_s, spec.window_s, pressure)
        self._age_s = 0.0
        self._room_s = 0.0
        self._now_ns: int | None = None

    def step(self, batch: Batch, now_ns: int) -> Batch:
        """The rows that stay."""
        self._pass_time(now_ns)
        slots = self._strata.of(batch)
        always = exempt(batch, self._keep)
        some = bool(always.any())
        counts = np.bincount(slots[~always] if some else slots)
        present = np.flatnonzero(counts)
        chances = self._chances(present, counts[present].astype(np.float64))
        if (chances == 1.0).all():
            return whole(batch)
        of_slot = np.ones(len(counts) if not some else len(self._strata.rows))
        of_slot[present] = chances
        chance = of_slot[slots]
        if some:
            chance[always] = 1.0
        return thinned(batch, chance, self._random)

    def _pass_time(self, now_ns: int) -> None:
        """Let counts decay and the bucket fill; a clock set back passes no time."""
        seconds = max(0, now_ns - (now_ns if self._now_ns is None else self._now_ns)) / 1e9
        self._now_ns = now_ns
        self._age_s += seconds
        self._strata.rows *= math.exp(-seconds / self._window_s)
        self._budget.pass_time(seconds)
        self._room_s += seconds
        if self._room_s >= 1.0:  # looking for silent strata costs a look at all of them
            self._room_s = 0.0
            self._strata.make_room()

    def _chances(
        self, present: npt.NDArray[np.intp], counts: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """The p of each stratum in the batch, decided before any of its rows is drawn for.

        A rate is decayed rows over decayed time. The batch at hand counts by half: the mean of
        the estimates before and after it, which is right for batches that come at any even
        pace of up to a window.
        """
        rows, window = self._strata.rows, self._window_s
        time_s = window * max(_START_S, 1 - math.exp(-self._age_s / window))
        rows[present] += counts / 2
        rates = rows[rows > 0] / time_s
        level = fair_level(rates, self._budget.per_s)
        chances = np.minimum(1.0, level * time_s / rows[present])
        rows[present] += counts / 2
        taken = chances * counts
        most = max(1.0, fair_level(taken, self._budget.at_once))
        chances *= np.minimum(1.0, most / taken)
        self._budget.spend(float((chances * counts).sum()))
        return chances

    def snapshot(self) -> bytes:
        """Rates, bucket and random state, with a checksum."""
        state = self._random.bit_generator.state["state"]["state"]
        saved = Saved(
            self._strata.counts(),
            self._budget.filling,
            self._age_s,
            self._now_ns or 0,
            state.astype("<u8").tobytes(),
        )
        body = msgspec.msgpack.encode(saved)
        return _MAGIC + crc32(body).to_bytes(4, "little") + body

    def restore(self, state: bytes) -> None:
        """Go on from a snapshot; DecodeError where it is damaged or of another version."""
        saved = _saved(state)
        self._strata = Strata(len(self._strata.rows))
        self._strata.fill(saved.strata)
        self._budget.filling = saved.filling
        self._age_s, self._now_ns = saved.age_s, saved.now_ns or None
        words = {"state": np.frombuffer(saved.random, "<u8")}
        self._random.bit_generator.state = {**self._random.bit_generator.state, "state": words}


def _saved(state: bytes) -> Saved:
    """The snapshot in ``state``; DecodeError."""
    head = len(_MAGIC)
    if state[:head] != _MAGIC:
        raise DecodeError("not a state of this version of the adaptive sampler", offset=0)
    body = state[head + 4 :]
    if state[head : head + 4] != crc32(body).to_bytes(4, "little"):
        raise DecodeError("the adaptive sampler's state is damaged", offset=head)
    try:
        saved = msgspec.msgpack.decode(body, type=Saved)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"the adaptive sampler's state: {error}", offset=head + 4) from None
    numbers = [saved.filling, saved.age_s, *(rows for _, _, rows in saved.strata)]
    if not all(map(math.isfinite, numbers)) or min(numbers[1:]) < 0 or abs(saved.filling) > 1:
        raise DecodeError("the adaptive sampler's state holds impossible numbers", offset=head + 4)
    return saved
