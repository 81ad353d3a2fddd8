"""The moves between trunk and branches: at once, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from tapio.model.batch import Batch
from tapio.model.policy import Settings
from tapio.model.ticket import Outcome
from tapio.model.when import When
from tapio.pipeline import Pipeline
from tapio.testing import Faulty, Replayed, Scripted, Simulation, simulate
from tests.engine.rows import Does, batch, numbers


class Breaks(When, frozen=True):
    """A ``when`` that cannot be answered."""

    def mask(self, batch: Batch) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Never."""
        raise TypeError("cannot compare")


def test_a_condition_that_fails_loses_no_row() -> None:
    """Rules 1 and 21: an error between trunk and branches ends the run with every row counted."""
    source = Replayed((batch(3), batch(4)))
    sinks = Faulty(), Faulty(when=Breaks(topic=()))
    end = simulate(Pipeline("p").source(source).sink(*sinks))
    assert isinstance(end.error, TypeError)
    assert end.status["imbalance"] == 0
    assert (
        end.status["sources"]["replayed"]["returned"] == end.status["sources"]["replayed"]["taken"]
    )
    assert set(source.outcomes) == {Outcome.RETRY}


@pytest.mark.parametrize("fuse", [True, False])
def test_fan_out_by_condition(fuse: bool) -> None:
    """Rule 3: each sink gets what it wants, skips the rest, and one ticket answers for all."""
    source = Replayed((batch(6),))
    even = Faulty(when=When(field="n", in_=(0, 2, 4)))
    none = Faulty(when=When(topic=("another",)))
    everything = Faulty()
    step = Does(call=lambda b: b.where(b["n"] != 5))
    pipeline = Pipeline("p").source(source).step(step).sink(even, none, everything)
    end = simulate(pipeline.settings(Settings(fuse=fuse)))
    assert [numbers(s.taken) for s in (even, none, everything)] == [[0, 2, 4], [], [0, 1, 2, 3, 4]]
    skipped = [s["sources"]["replayed"]["skipped"] for s in end.status["sinks"].values()]
    assert skipped == [2, 5, 0]
    assert source.outcomes == [Outcome.DONE]


def test_what_no_sink_wants_is_done() -> None:
    """Rule 8: rows that every sink skips were removed by a named and counted rule."""
    source = Replayed((batch(6),))
    end = simulate(Pipeline("p").source(source).sink(Faulty(when=When(severity=24))))
    assert end.status["sinks"]["faulty"]["sources"]["replayed"]["skipped"] == 6
    assert source.outcomes == [Outcome.DONE]


def rows_by_way(end: Simulation, source: str) -> dict[str, int]:
    """Where the rows of ``source`` went on the trunk."""
    return {k: v for k, v in end.status["sources"][source].items() if isinstance(v, int) and v}


def test_several_sources_are_fanned_in() -> None:
    """Each source has its own account; the rows of all reach the sink."""
    sink = Faulty()
    sources = Scripted((batch(2), 0.1, batch(2, 2))), Scripted((batch(3, 10),))
    end = simulate(Pipeline("p").source(*sources).sink(sink))
    assert sorted(numbers(sink.taken)) == [0, 1, 2, 3, 10, 11, 12]
    assert rows_by_way(end, "scripted") == {"taken": 4, "passed": 4}
    assert rows_by_way(end, "scripted-2") == {"taken": 3, "passed": 3}
