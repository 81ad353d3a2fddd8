"""What a run says while it runs: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TextIO

from tapio.cli.figures import Rates, duration, over, short, sinks, totals
from tapio.cli.recent import Board, Event
from tapio.cli.rows import severity
from tapio.cli.terminal import escaped, silence

EVERY_S = 5.0
"""Between two lines; a log that is kept grows by 2 MB a day."""

GONE = (errno.EPIPE, errno.EIO)
"""What writing raises once the reader of a pipe, or the terminal, has gone."""

FIRST_S = 1.0
"""Until the first line: soon enough to see that it runs."""

EVENTS = 10
"""Important rows that are shown between two lines; the others are counted."""


class Display(Protocol):
    """Shows a run; ``show`` may be called at any time, and raises OSError if nobody can see."""

    every_s: float

    def show(self, status: Mapping[str, Any]) -> None:
        """Show how things stand."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was; never raises."""
        ...


class Lines:
    """One line each ``EVERY_S``, after the important rows since the last one."""

    every_s = EVERY_S

    def __init__(self, out: TextIO, board: Board) -> None:
        self._out = out
        self._board = board
        self._rates = Rates()
        self._noticed = 0

    def show(self, status: Mapping[str, Any]) -> None:
        """Print what is new."""
        new, self._noticed = self._board.noticed - self._noticed, self._board.noticed
        important = self._board.important(min(new, EVENTS))
        for event in important:
            self._print(sentence(event))
        if new > len(important):
            self._print(f"... and {new - len(important)} more rows of severity warn or above")
        self._print(line(status, self._board.kernel_lost, self._rates))

    def close(self) -> None:
        """Nothing was changed."""

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def line(status: Mapping[str, Any], kernel_lost: int, rates: Rates) -> str:
    """How things stand, on one line of ``name=value``."""
    sums = totals(status)
    per_s = rates.look(status["uptime_s"], {"taken": sums.taken})["taken"]
    said = (
        f"{status['state']} {duration(status['uptime_s'])}: taken={sums.taken} "
        f"rate={short(per_s)}/s delivered={sums.delivered} held={sums.held} lost={sums.lost}"
    )
    if kernel_lost:
        said += f" kernel_lost={kernel_lost}"
    if sums.dead_lettered:
        said += f" dead_lettered={sums.dead_lettered}"
    return said + "".join(_sink(label, sink) for label, sink in sinks(status).items())


def _sink(label: str, sink: Mapping[str, Any]) -> str:
    """A sink's latency, or what ails it."""
    name = escaped(label)
    if sink["breaker"]["state"] != "closed":
        why = escaped(sink["breaker"]["why"] or sink["last_error"])
        return f"; {name} {sink['breaker']['state']} held={over(sink, 'held')} ({why})"
    if not sink["latency_s"]["count"]:
        return f"; {name} idle"
    return f"; {name} p99={duration(sink['latency_s']['p99']).replace(' ', '')}"


def sentence(event: Event) -> str:
    """An important row on one line."""
    return f"{event.clock} {severity(event.severity):<5} {event.topic} {event.text}"


async def report(display: Display, status: Callable[[], Mapping[str, Any]]) -> None:
    """Show how things stand, again and again; returns once nobody can see it any more.

    A full disk is no such reason: the next line may find room.
    """
    pause = min(FIRST_S, display.every_s)
    while True:
        await asyncio.sleep(pause)
        pause = display.every_s
        try:
            display.show(status())
        except OSError as error:
            if error.errno in GONE:
                return


def closing(out: TextIO, lines: Iterator[str]) -> None:
    """Print the last words; nobody need be there to read them."""
    try:
        for text in lines:
            print(text, file=out)
        out.flush()
    except OSError:
        silence(out)
