"""Rule 8: a ticket settles once, and one RETRY among forks or joins makes RETRY."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.model.ticket import Outcome, Ticket

MOVES = st.lists(
    st.tuples(st.sampled_from(["fork", "join", "settle"]), st.integers(0, 3), st.integers(0, 9)),
    max_size=15,
)


@given(st.integers(1, 4), MOVES, st.integers(0))
def test_any_tree_settles_each_ticket_once_with_the_worst(
    sources: int, moves: list[tuple[str, int, int]], seed: int
) -> None:
    """However tickets are forked, joined and settled, each delivery is answered once, in time.

    That is when the last part of it has settled, and with RETRY if any part was.
    """
    chance = random.Random(seed)
    answers: dict[int, list[Outcome]] = {n: [] for n in range(sources)}
    live = [(Ticket(answers[n].append), {n}) for n in range(sources)]
    worst = dict.fromkeys(range(sources), Outcome.DONE)
    for move, count, at in [*moves, *[("settle", 0, 0)] * 100]:
        if not live:
            break
        ticket, origins = live.pop(at % len(live))
        if move == "fork":
            live += [(t, origins) for t in ticket.fork(1 + count)]
        elif move == "join":
            taken = [(ticket, origins), *(live.pop() for _ in range(min(count, len(live))))]
            live.append((Ticket.join([t for t, _ in taken]), set().union(*(o for _, o in taken))))
        else:
            outcome = chance.choice(list(Outcome))
            worst |= {n: max(worst[n], outcome) for n in origins}
            ticket.settle(outcome)
        open_ = set().union(*(o for _, o in live))
        assert all(len(said) == (n not in open_) for n, said in answers.items())
    assert answers == {n: [outcome] for n, outcome in worst.items()}


def test_a_ticket_is_spent_once() -> None:
    """Settled, forked or joined, it can be used no more."""
    for use in (
        lambda t: t.settle(Outcome.DONE),
        lambda t: [f.settle(Outcome.DONE) for f in t.fork(2)],
        lambda t: Ticket.join([t]).settle(Outcome.DONE),
        lambda t: Ticket.join([t, Ticket()]).settle(Outcome.DONE),
    ):
        ticket = Ticket()
        assert not ticket.spent
        use(ticket)
        assert ticket.spent
        with pytest.raises(AssertionError, match="settles once"):
            ticket.settle(Outcome.RETRY)
        with pytest.raises(AssertionError, match="settles once"):
            ticket.fork(2)


def test_a_ticket_cannot_be_forked_to_nobody() -> None:
    """Somebody must answer for the rows."""
    ticket = Ticket()
    with pytest.raises(ValueError, match="at least one holder"):
        ticket.fork(0)
    ticket.settle(Outcome.DONE)


def test_a_ticket_that_is_lost_warns() -> None:
    """One collected before it settled is a bug, and says so."""
    with pytest.warns(ResourceWarning, match="never settled"):
        Ticket()


def test_deep_trees_settle() -> None:
    """Forks of forks and joins of joins, thousands deep, need no deep stack."""
    answers: list[Outcome] = []
    ticket = Ticket(answers.append)
    for _ in range(5000):
        ticket, other = ticket.fork(2)
        other.settle(Outcome.DONE)
    for _ in range(5000):
        ticket = Ticket.join([ticket, Ticket(answers.append)])
    ticket.settle(Outcome.RETRY)
    assert answers == [Outcome.RETRY] * 5001
