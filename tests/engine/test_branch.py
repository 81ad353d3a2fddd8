"""A branch: what each answer of a sink does to the rows, and that it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from random import Random
from typing import Any

import numpy as np
import pytest

from tapio.engine.branch import Branch, Desk
from tapio.engine.cells import StageFailure
from tapio.engine.ledger import Ledger
from tapio.model.batch import Batch
from tapio.model.errors import EndOfStream, PartlyRejected, Rejected, Retryable
from tapio.model.policy import Breaker, Rate, Retry
from tapio.model.schema import ERROR
from tapio.model.stage import Sink
from tapio.model.ticket import Outcome
from tapio.testing import VirtualClock
from tests.engine.rows import Fates, batch, numbers, virtually

DONE, RETRY = Outcome.DONE, Outcome.RETRY


class Bench:
    """One branch with a sink that does what ``script`` says, and what became of its rows.

    An entry is raised, or is a stall in seconds, or both; after the last all is taken.
    ``tries`` holds (time, batch) of each Write.
    """

    def __init__(self, script: Sequence[Any] = (), **options: Any) -> None:
        self.script = list(script)
        self.spec = Sink(**({"max_age_s": 0.01, "retry": Retry(initial_s=0.1)} | options))
        self.ledger = Ledger()
        self.fates = Fates()
        self.tries: list[tuple[float, Batch]] = []
        self.taken: list[Batch] = []
        self.buried: list[Batch] = []
        self.durable = True
        self.ended = 0
        self.progress = 0
        ids = count(1)
        desk = Desk(
            ledger=self.ledger,
            clock=VirtualClock(asyncio.get_running_loop()),
            bury=self._bury,
            random=Random(1),
            new_id=lambda: f"id-{next(ids)}",
            finished=self._finished,
            progress=self._progress,
        )
        self.branch = Branch("sink", self.spec, self.write, "block", desk)

    async def write(self, batch: Batch) -> None:
        """Do as the script says."""
        self.tries.append((asyncio.get_running_loop().time(), batch))
        act = self.script.pop(0) if self.script else None
        stall, error = act if isinstance(act, tuple) else (act, act)
        if isinstance(stall, float):
            await asyncio.sleep(stall)
        if isinstance(error, BaseException):
            raise error
        self.taken.append(batch)

    def offer(self, content: Batch | int, **options: Any) -> None:
        """Pass rows to the branch, as the trunk does."""
        parcel = self.fates.parcel(content, **options)
        self.ledger.branch["sink", parcel.source].passed += parcel.rows
        self.branch.channel.offer(parcel)

    async def drain(self) -> None:
        """Let the workers finish all that was offered."""
        self.branch.channel.close()
        async with asyncio.TaskGroup() as group:
            for _ in range(self.spec.concurrency):
                group.create_task(self.branch.work())

    @property
    def account(self) -> dict[str, Any]:
        """What the ledger says that is not zero, for source ``s``; it balances."""
        account = self.ledger.branch["sink", "s"]
        held = sum(rows for _, rows in self.branch.held())
        assert account.imbalance(held) == 0
        names = ["delivered", "refused", "dead_lettered", "returned", "skipped"]
        said = {n: getattr(account, n) for n in names if getattr(account, n)}
        return said | dict(account.dropped) | ({"held": held} if held else {})

    async def _bury(self, batch: Batch, source: str, stage: str, reason: str) -> bool:
        self.buried.append(batch)
        await asyncio.sleep(0.001)
        return self.durable

    def _finished(self) -> None:
        self.ended += 1

    def _progress(self) -> None:
        self.progress += 1


def bench(main: Callable[[Bench], Awaitable[None]], *script: Any, **options: Any) -> Bench:
    """A bench on which ``main`` ran in virtual time."""

    async def run() -> Bench:
        made = Bench(script, **options)
        try:
            await main(made)
        finally:
            for left in made.branch.sweep():
                left.ticket.settle(RETRY)
        return made

    return virtually(run())


def delivering(*rows: Batch | int) -> Callable[[Bench], Awaitable[None]]:
    """Offer ``rows`` and drain."""

    async def main(bench: Bench) -> None:
        for one in rows:
            bench.offer(one)
        await bench.drain()

    return main


def test_what_write_returned_of_is_delivered() -> None:
    """Rule 11: Write returned means delivered, and the ticket is DONE."""
    done = bench(delivering(5))
    assert done.account == {"delivered": 5}
    assert done.fates == [DONE]


def test_a_retryable_batch_is_held_and_tried_again_as_it_is() -> None:
    """Rule 11 and 16: each try has the same id and the same rows, however often it fails."""
    done = bench(delivering(5), *[Retryable("down")] * 30, breaker=Breaker(failures=100))
    assert done.account == {"delivered": 5}
    assert {b.id for _, b in done.tries} == {"id-1"}
    assert all(numbers([b]) == [0, 1, 2, 3, 4] for _, b in done.tries)


@pytest.mark.parametrize("after_s", [0.0, 7.5, 3600.0])
def test_a_wait_that_the_endpoint_asked_for_is_honoured(after_s: float) -> None:
    """Rule 11: Retry-After is what is waited."""
    done = bench(delivering(1), Retryable("busy", after_s=after_s))
    first, second = (at for at, _ in done.tries)
    assert second - first == pytest.approx(after_s, abs=0.001)


@pytest.mark.parametrize("after_s", [float("nan"), -1.0])
def test_a_wait_that_is_no_time_is_none(after_s: float) -> None:
    """Rule 11: nonsense asked for by an endpoint disturbs no timer."""
    done = bench(delivering(1), Retryable("busy", after_s=after_s))
    assert done.account == {"delivered": 1}


@pytest.mark.parametrize(("durable", "fate"), [(True, "dead_lettered"), (False, "rejected")])
def test_a_rejected_batch_is_dead_lettered_only_if_that_is_durable(
    durable: bool, fate: str
) -> None:
    """Rule 11: only a durable dead letter is ``dead_lettered``; else it is dropped, and said."""

    async def main(bench: Bench) -> None:
        bench.durable = durable
        await delivering(5)(bench)

    done = bench(main, Rejected("bad"))
    assert done.account == {fate: 5}
    assert done.fates == [DONE]


def test_a_mask_divides_what_was_rejected_in_part() -> None:
    """Rule 11: the rows of the mask are buried, under an id of their own, the others delivered."""
    mask = np.array([False, True, False, True, False])
    done = bench(delivering(5), PartlyRejected("two", mask=mask))
    assert done.account == {"delivered": 3, "dead_lettered": 2}
    assert numbers(done.buried) == [1, 3]
    assert done.buried[0].id not in ("", done.tries[0][1].id)
    assert done.fates == [DONE]


@pytest.mark.parametrize("count", [0, 2, 5, 9])
def test_a_count_of_rejected_rows_is_refused(count: int) -> None:
    """Rule 11: a count without indices is ``refused``, and never more than there was."""
    done = bench(delivering(5), PartlyRejected("some", count=count))
    refused = min(count, 5)
    said = {"delivered": 5 - refused, "refused": refused}
    assert done.account == {k: v for k, v in said.items() if v}


@pytest.mark.parametrize(
    "error",
    [
        PartlyRejected("short", mask=np.array([True, False])),
        PartlyRejected("long", mask=np.ones(9, bool)),
        PartlyRejected("numbers", mask=np.array([0, 1, 0, 1, 0])),
        PartlyRejected("negative", count=-1),
    ],
)
def test_an_answer_that_makes_no_sense_loses_no_row(error: PartlyRejected) -> None:
    """Rules 3 and 21: a sink that answers nonsense has failed on that batch; it is buried."""
    done = bench(delivering(batch(5, 0, ERROR), 5), error)
    assert done.account == {"dead_lettered": 5, "delivered": 5}
    assert done.fates == [DONE, DONE]


def test_what_is_too_large_is_halved_until_it_passes() -> None:
    """Rules 12 and 16: halves are new batches with new ids; one row too large is rejected."""
    too_large = Retryable("413", too_large=True)

    async def main(bench: Bench) -> None:
        write = bench.write

        async def choosy(batch: Batch) -> None:
            if batch.rows > 2 or 7 in batch["n"]:
                raise too_large
            await write(batch)

        bench.branch._write = choosy
        await delivering(8)(bench)

    done = bench(main)
    assert done.account == {"delivered": 7, "dead_lettered": 1}
    assert numbers(done.taken) == list(range(7))
    assert len({b.id for b in done.taken}) == len(done.taken)
    assert done.branch.circuit.opened == 0


def test_halves_do_not_wait_for_the_next_rows() -> None:
    """Rule 12: with a second worker waiting for rows, the halves still go at once."""

    async def main(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(bench.branch.work())
            bench.offer(4)
            await asyncio.sleep(1)
            delivered = bench.account
            bench.branch.channel.close()
        assert delivered == {"delivered": 4}

    bench(main, (0.1, Retryable("413", too_large=True)), concurrency=2)


def test_an_open_breaker_holds() -> None:
    """Rule 13: while it is open nothing is tried, dropped or dead-lettered."""

    async def main(bench: Bench) -> None:
        bench.offer(5)
        async with asyncio.TaskGroup() as group:
            group.create_task(bench.branch.work())
            await asyncio.sleep(0.5)
            opened = bench.tries[-1][0]
            for _ in range(100):
                assert bench.branch.circuit.state == "open"
                assert bench.account == {"held": 5}
                assert len(bench.tries) == 3
                await asyncio.sleep(0.01)
            await asyncio.sleep(opened + 2 - asyncio.get_running_loop().time())
            bench.branch.channel.close()

    done = bench(
        main, *[Retryable("down", after_s=0.1)] * 3, breaker=Breaker(failures=3, reopen_s=2)
    )
    assert done.account == {"delivered": 5}
    assert done.branch.circuit.state == "closed"


@pytest.mark.parametrize("answer", [EndOfStream(), ValueError("broken"), Rejected("bad")])
def test_a_probe_that_ends_without_success_lets_the_next_one_go(answer: Exception) -> None:
    """Rule 13: whatever a probe ends with, rows are tried again; none is stuck half-open."""
    done = bench(
        delivering(*[batch(1, n, ERROR) for n in range(5)]),
        Retryable("down"),
        answer,
        breaker=Breaker(failures=1, reopen_s=1),
    )
    assert done.account.pop("delivered") == 4
    assert done.fates == [DONE] * 5


def test_only_one_batch_probes() -> None:
    """Rule 13: half-open means one real batch, also while an older try ends by a fault."""
    rows = [batch(1, n, ERROR) for n in range(6)]
    script = [(2.5, ValueError("begun before it opened")), Retryable("down"), 3.0]
    policy = Breaker(failures=1, reopen_s=2)
    done = bench(delivering(*rows), *script, concurrency=4, breaker=policy)
    opened, probe, *others = (at for at, _ in done.tries[1:])
    assert probe == pytest.approx(opened + 2)
    assert min(others) == pytest.approx(probe + 3)


def test_errors_of_the_data_do_not_open_the_breaker() -> None:
    """Rule 12: a rejection is an answer, and so a success for the breaker."""
    done = bench(delivering(*[batch(1, n, ERROR) for n in range(30)]), *[Rejected("bad")] * 30)
    assert done.branch.circuit.opened == 0
    assert done.account == {"dead_lettered": 30}


def test_ten_faults_of_a_sink_in_a_row_end_the_run() -> None:
    """Rule 21: ten exceptions that are no answers, and StageFailure; nine and an answer, none."""
    rows = [batch(1, n, ERROR) for n in range(20)]
    with pytest.raises(ExceptionGroup) as failed:
        bench(delivering(*rows), *[ValueError("broken")] * 10)
    assert failed.group_contains(StageFailure, match="sink sink failed 10 times in a row")
    answers = [Rejected("bad"), PartlyRejected("bad", count=1), Retryable("down"), None]
    for answer in answers:
        faults = [ValueError("broken")] * 9
        done = bench(delivering(*rows), *faults, answer, *faults)
        assert done.account["dead_lettered"] >= 18


def test_a_reader_that_went_away_ends_the_pipeline() -> None:
    """EndOfStream from a sink: its rows are dropped as ``closed``, and a stop is asked for."""
    done = bench(delivering(5), EndOfStream())
    assert (done.account, done.ended) == ({"closed": 5}, 1)


def test_each_answer_is_progress() -> None:
    """Rule 20: at the end of a stream the drain goes on as long as the sink answers."""
    rows = [batch(1, n, ERROR) for n in range(3)]
    done = bench(delivering(*rows), Rejected("bad"), PartlyRejected("bad", count=1))
    assert done.progress == 3


def test_a_write_that_hides_its_cancellation_does_not_go_on() -> None:
    """Rule 20: a sink that turns its cancellation into an error of its own holds nobody up."""

    async def main(bench: Bench) -> None:
        async def write(batch: Batch) -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                raise Retryable("interrupted") from None

        bench.branch._write = write
        bench.offer(5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await bench.drain()
        assert asyncio.get_running_loop().time() == pytest.approx(1)
        assert bench.account == {"held": 5}

    bench(main)


def test_the_rate_is_kept() -> None:
    """Rule 19: no more rows and bytes a second than the sink is to be given."""
    rows = [batch(10, 10 * n, ERROR) for n in range(5)]
    done = bench(delivering(*rows), rate=Rate(rows_per_s=20))
    assert [at for at, _ in done.tries] == pytest.approx([0, 0.5, 1, 1.5, 2], abs=0.001)
    done = bench(delivering(*rows), rate=Rate(bytes_per_s=rows[0].size / 2))
    assert [at for at, _ in done.tries] == pytest.approx([0, 2, 4, 6, 8], abs=0.001)


async def test_a_fast_sink_leaves_others_their_turn() -> None:
    """A full channel and a sink that takes at once do not keep the loop from its timers."""
    made = Bench(max_rows=1)
    for n in range(5000):
        made.offer(batch(1, n))
    worst, last = 0.0, asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        work = group.create_task(made.drain())
        while not work.done():
            await asyncio.sleep(0)
            now = asyncio.get_running_loop().time()
            worst, last = max(worst, now - last), now
    assert made.account == {"delivered": 5000}
    assert worst < 0.03


def test_a_sink_that_is_cancelled_from_inside_has_failed() -> None:
    """Rule 21: awaiting a future that somebody else cancelled is a fault, not the worker's end."""
    rows = [batch(1, n, ERROR) for n in range(3)]
    done = bench(delivering(*rows), asyncio.CancelledError())
    assert done.account == {"dead_lettered": 1, "delivered": 2}


def test_a_branch_says_what_it_met() -> None:
    """Retries, the last error and the latency are told; a success hides no error of before."""
    answers = Retryable("503"), Rejected("400: bad")
    done = bench(delivering(batch(1, 0, ERROR), batch(3, 1, ERROR)), *answers)
    said = done.branch.said
    assert (said.retries, said.last_error) == (1, "400: bad")
    assert said.latency.count == 3
    done = bench(delivering(batch(1, 0, ERROR)), Retryable("503"), ValueError("broken"))
    assert done.branch.said.last_error == "ValueError: broken"
