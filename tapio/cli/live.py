"""The live table: a run at a glance, redrawn in place on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.box import Box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tapio.cli.figures import Rates, duration, lost, over, short, sinks, size, totals
from tapio.cli.recent import Board, Event
from tapio.cli.rows import severity
from tapio.cli.terminal import escaped

EVERY_S = 1.0
"""Drawing takes about 10 ms, so this is 1 % of a core; and faster could hardly be read."""

RULED = Box("    \n    \n -- \n" + 5 * "    \n", ascii=True)
"""A line below the titles and no other, which every terminal can show."""

_STYLES = {"WARN": "yellow", "ERROR": "red", "FATAL": "bold red"}


class Column(NamedTuple):
    """One column of a table: its title, its text for a row, and the width it asks for."""

    title: str
    text: Callable[[str, Mapping[str, Any], Mapping[str, float]], str]
    from_width: int = 0


SOURCES: Sequence[Column] = (
    Column("source", lambda label, said, rates: label),
    Column("rows/s", lambda label, said, rates: short(rates.get(f"source {label}", 0.0))),
    Column("taken", lambda label, said, rates: short(said["taken"])),
    Column("filtered", lambda label, said, rates: short(said["filtered"]), 72),
    Column("sampled out", lambda label, said, rates: short(said["sampled_out"]), 64),
    Column("held", lambda label, said, rates: short(said["held"]), 52),
    Column("lost", lambda label, said, rates: short(lost(said))),
)

SINKS: Sequence[Column] = (
    Column("sink", lambda label, said, rates: label),
    Column("rows/s", lambda label, said, rates: short(rates.get(f"sink {label}", 0.0))),
    Column("delivered", lambda label, said, rates: short(over(said, "delivered")), 52),
    Column("p50", lambda label, said, rates: _latency(said, "p50"), 80),
    Column("p99", lambda label, said, rates: _latency(said, "p99"), 60),
    Column("held", lambda label, said, rates: short(over(said, "held"))),
    Column("dead", lambda label, said, rates: short(over(said, "dead_lettered")), 72),
    Column("lost", lambda label, said, rates: short(over(said, "lost"))),
    Column("state", lambda label, said, rates: _state(said)),
)

TOPICS: Sequence[Column] = (
    Column("topic", lambda label, said, rates: label),
    Column("rows/s", lambda label, said, rates: short(rates.get(f"topic {label}", 0.0))),
    Column("rows kept", lambda label, said, rates: short(said["rows"])),
)


def _latency(sink: Mapping[str, Any], which: str) -> str:
    return duration(sink["latency_s"][which]) if sink["latency_s"]["count"] else ""


def _state(sink: Mapping[str, Any]) -> str:
    state = str(sink["breaker"]["state"])
    if state != "closed":
        return state
    return "ok" if sink["latency_s"]["count"] else "idle"


def view(
    status: Mapping[str, Any],
    board: Board,
    rates: Mapping[str, float],
    width: int,
    height: int,
) -> RenderableType:
    """The whole picture in at most ``width`` times ``height``: events take what is left over."""
    parts: list[RenderableType] = list(_head(status, board))
    parts.append(_table(SOURCES, status["sources"], rates, width))
    topics = {topic: {"rows": rows} for topic, rows in sorted(board.topics.items())}
    named = sinks(status)
    used = len(parts) + 4 + len(status["sources"]) + len(named) + len(list(_troubles(named)))
    if topics and used + len(topics) + 6 <= height:
        parts.append(_table(TOPICS, topics, rates, width))
        used += len(topics) + 2
    parts.append(_table(SINKS, named, rates, width))
    parts += _troubles(named)
    parts += _events(board, height - used - 2)
    return Group(*parts)


def _head(status: Mapping[str, Any], board: Board) -> Iterator[Text]:
    sums = totals(status)
    gone = sums.lost + board.kernel_lost
    memory = status["memory"]
    state = f"{status['state']} {duration(status['uptime_s'])}"
    yield _line(f"{status['pipeline']}: {state}", "bold")
    text = (
        f"held {short(sums.held)}  lost {short(sums.lost)}, in kernel {short(board.kernel_lost)}  "
        f"imbalance {status['imbalance']}  "
        f"memory {size(memory['bytes'])} of {size(memory['soft'])}"
    )
    yield _line(text, "red" if gone or status["imbalance"] else "")


def _table(
    columns: Sequence[Column],
    rows: Mapping[str, Mapping[str, Any]],
    rates: Mapping[str, float],
    width: int,
) -> Table:
    shown = [column for column in columns if width >= column.from_width]
    table = Table(box=RULED, show_edge=False, padding=(0, 1, 0, 0), expand=False)
    for index, column in enumerate(shown):
        side = "right" if index and column.title != "state" else "left"
        table.add_column(column.title, justify=side, no_wrap=True, overflow="crop")  # type: ignore[arg-type]
    for label, said in rows.items():
        table.add_row(*(Text(escaped(c.text(label, said, rates))) for c in shown))
    return table


def _troubles(named: Mapping[str, Mapping[str, Any]]) -> Iterator[Text]:
    """Why a sink does not get its rows."""
    for label, said in named.items():
        if said["breaker"]["state"] != "closed":
            why = said["breaker"]["why"] or said["last_error"]
            yield _line(f"{label}: {why}", "yellow")


def _events(board: Board, room: int) -> Iterator[Text]:
    """The last important rows, or where there are none the last rows at all."""
    if room < 1:
        return
    events = board.important(room) or board.last(room)
    if events:
        yield _line(f"important rows: {board.noticed}" if board.noticed else "last rows", "bold")
    yield from map(_event, events)


def _event(event: Event) -> Text:
    name = severity(event.severity)
    text = _line(f"{event.clock} ")
    text.append(f"{name:<5} ", _STYLES.get(name, ""))
    text.append(f"{event.topic} {event.text}")
    return text


def _line(text: str, style: str = "") -> Text:
    return Text(escaped(text), style=style, no_wrap=True, overflow="crop", end="\n")


def counts(status: Mapping[str, Any], board: Board) -> dict[str, int]:
    """What rates are made of."""
    said = {f"source {label}": int(a["taken"]) for label, a in status["sources"].items()}
    said |= {f"sink {label}": over(s, "delivered") for label, s in sinks(status).items()}
    return said | {f"topic {topic}": rows for topic, rows in board.topics.items()}


class Picture:
    """A Display that redraws the table where it stands, and is gone when it is closed.

    Logs and warnings appear above it. Where stderr is not the terminal, it is left alone.
    """

    every_s = EVERY_S

    def __init__(self, board: Board, console: Console | None = None) -> None:
        self._board = board
        self._rates = Rates()
        self._console = console or Console(highlight=False, emoji=False, markup=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()

    def show(self, status: Mapping[str, Any]) -> None:
        """Draw how things stand; raises OSError where the terminal has gone."""
        wide, high = self._console.size
        rates = self._rates.look(status["uptime_s"], counts(status, self._board))
        self._live.update(view(status, self._board, rates, wide, high), refresh=True)

    def close(self) -> None:
        """Take the table away and show the cursor again."""
        with contextlib.suppress(OSError):  # the terminal may have gone
            self._live.stop()
