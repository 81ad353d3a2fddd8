"""Logs: JSON for machines, lines for people, repeats counted, nothing that commands a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from tapio.cli import logs
from tapio.cli.logs import BURST, MAX_KINDS, WINDOW_S, Repeats


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger below Tapio's, whose level is put back."""
    tapio = logging.getLogger("tapio")
    before = tapio.level
    yield tapio.getChild("otlp")
    tapio.setLevel(before)


def test_a_machine_gets_json_lines(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Off a terminal each log is one JSON object, its extras beside it."""
    handler = logs.install()
    try:
        raise ConnectionError("refused\nby peer")
    except ConnectionError:
        logger.warning(
            "no %s", "answer", exc_info=True, extra={"sink": "otlp", "id": 7, "severity": "odd"}
        )
    logs.remove(handler)
    said = json.loads(capsys.readouterr().err)
    assert said["time"].endswith("Z")
    del said["time"]
    assert said == {
        "severity": "WARN",
        "logger": "tapio.otlp",
        "message": "no answer",
        "error": {"type": "ConnectionError", "message": "refused\nby peer"},
        "sink": "otlp",
        "id": 7,
    }


def test_a_person_gets_a_line(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """Time, level, stage, text, reason and extras on one line, escaped."""
    handler = logs.install(form="text")
    try:
        raise ConnectionError("refused\nby \x1b[31mpeer")
    except ConnectionError:
        logger.warning("no answer", exc_info=True, extra={"sink": "a"})
    logs.remove(handler)
    line = capsys.readouterr().err
    assert line[9:] == (
        r"WARN  otlp: no answer (ConnectionError: refused\x0aby \x1b[31mpeer)  sink=a" + "\n"
    )


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_traceback_is_there_when_it_is_asked_for(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """``debug`` shows where an error came from; else nothing does."""
    for debug in (False, True):
        handler = logs.install(form=form, debug=debug)
        try:
            raise ValueError("odd")
        except ValueError:
            logger.exception("failed")
        logs.remove(handler)
        assert ("Traceback" in capsys.readouterr().err) is debug


def test_levels_are_of_tapio_others_speak_from_warning_on(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library's chatter stays out; Tapio's level is the one asked for."""
    handler = logs.install("error", "text")
    logger.warning("quiet")
    logger.error("loud")
    logging.getLogger("aiohttp").info("chatter")
    logging.getLogger("aiohttp").warning("trouble")
    logs.remove(handler)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["loud", "trouble"]


def test_a_message_that_repeats_is_counted(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five are shown, of the others the number at the end; other messages are not touched."""
    handler = logs.install(form="text")
    for attempt in range(100):
        logger.warning("attempt %d failed", attempt)
    logger.warning("something else")
    logs.remove(handler)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == BURST + 2
    assert lines[BURST].endswith("something else")
    assert lines[-1].endswith(f"{100 - BURST} more like this were not shown: attempt %d failed")


def test_after_a_while_a_repeat_is_shown_again() -> None:
    """The next window shows the message, and says how many were left out of the last."""
    repeats, kind = Repeats(), ("tapio", 30, "again")
    assert [repeats.admit(kind, 0.0) for _ in range(BURST + 3)] == [0] * BURST + [None] * 3
    assert repeats.admit(kind, WINDOW_S) == 3
    assert repeats.admit(kind, WINDOW_S + 1) == 0
    assert list(repeats.rest()) == []


def test_kinds_of_messages_are_bounded() -> None:
    """A message that is never the same twice does not fill the memory."""
    repeats = Repeats()
    for number in range(3 * MAX_KINDS):
        repeats.admit(("tapio", 30, str(number)), 0.0)
    assert len(repeats._kinds) == MAX_KINDS


def test_a_stderr_that_nobody_reads_is_no_error(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed pipe swallows the logs and nothing else happens."""

    class Closed:
        """A reader that has gone."""

        def isatty(self) -> bool:
            """A pipe."""
            return False

        def write(self, text: str) -> int:
            """Nobody reads."""
            raise BrokenPipeError(32, "Broken pipe")

        def flush(self) -> None:
            """Nothing to flush."""

    handler = logs.install()
    monkeypatch.setattr(sys, "stderr", Closed())
    logger.warning("unheard")
    assert handler in logging.getLogger().handlers
    logs.remove(handler)
    assert handler not in logging.getLogger().handlers
