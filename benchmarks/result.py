"""What a benchmark gives back, and how two figures become a ratio."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

LESS_IS_BETTER = frozenset({"ns/row", "s", "ms", "MiB", "MiB/min", "cpu_s/M_rows", "%core"})
"""Units in which the smaller figure wins; in every other the larger does."""


class Failed(Exception):
    """A benchmark's own check did not hold: its figures would mean nothing. Exit code 1."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of output: a case's figure, and its ratio to one baseline where it has one.

    ``ratio`` > 1 means that Tapio is better, whatever the unit.
    """

    bench: str
    case: str
    value: float
    unit: str
    baseline: str | None = None
    ratio: float | None = None


def compared(
    bench: str, unit: str, ours: Mapping[str, float], baselines: Mapping[str, float]
) -> Iterator[Result]:
    """Each of ``ours`` once a baseline, with its ratio; then each baseline on a line of its own.

    Cases of ``ours`` start with ``tapio``; figures of both are in ``unit``.
    """
    for case, value in ours.items():
        if not case.startswith("tapio"):
            raise ValueError(f"a case of ours starts with 'tapio', not {case!r}")
        for baseline, other in baselines.items():
            ratio = other / value if unit in LESS_IS_BETTER else value / other
            yield Result(bench, case, value, unit, baseline, ratio)
    for baseline, other in baselines.items():
        yield Result(bench, baseline, other, unit)


def interleaved(rounds: int, measures: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """``rounds`` figures of each measure, taken in turns: a noisy minute then hits them all."""
    taken: dict[str, list[float]] = {case: [] for case in measures}
    for _ in range(rounds):
        for case, measure in measures.items():
            taken[case].append(measure())
    return taken
