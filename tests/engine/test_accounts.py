"""The ledger's accounts at the start of a run."""

from tapio.engine.run import Engine
from tapio.model.plan import Plan
from tapio.testing import Faulty, Scripted


def test_accounts_stand_at_zero_before_the_first_row() -> None:
    """A first failure must be an increase of a counter that was already there."""
    engine = Engine(Plan("p", (Scripted(script=()),), (), (Faulty(), Faulty())))
    source, sink = "scripted", "faulty"
    assert engine.ledger.trunk.keys() == {source}
    assert engine.ledger.branch.keys() == {(sink, source), (f"{sink}-2", source)}
    assert engine.status()["sources"][source]["taken"] == 0
