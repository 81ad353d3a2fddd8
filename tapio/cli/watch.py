"""Says in the logs when a sink stops delivering, when it delivers again, and when rows are lost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tapio.cli.figures import sinks

Loss = tuple[str, str]
"""Who lost rows (a source or a sink), and why."""


class Watch:
    """Compares one ``status()`` with the last, and logs what a person should know."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._away: set[str] = set()
        self._lost: Counter[Loss] = Counter()

    def look(self, status: Mapping[str, Any], kernel_lost: int = 0) -> None:
        """Log what is new in ``status``."""
        for label, sink in sinks(status).items():
            self._delivering(label, sink)
        now = Counter(dict(_losses(status)))
        now["kernel", "its rings were full"] = kernel_lost
        for (who, why), rows in (now - self._lost).items():
            said = "%d rows were lost: %s"
            self._logger.getChild(who).warning(said, rows, why)
        self._lost = now

    def _delivering(self, label: str, sink: Mapping[str, Any]) -> None:
        state = sink["breaker"]["state"]
        if state == "open" and label not in self._away:
            self._away.add(label)
            why = sink["breaker"]["why"] or sink["last_error"]
            said = "cannot deliver: %s; its rows wait, and it is tried again"
            self._logger.getChild(label).warning(said, why)
        elif state == "closed" and label in self._away:
            self._away.remove(label)
            self._logger.getChild(label).info("delivers again")


def _losses(status: Mapping[str, Any]) -> Iterator[tuple[Loss, int]]:
    for label, account in status["sources"].items():
        for why, rows in account["dropped"].items():
            yield (label, why), rows
    for label, sink in sinks(status).items():
        whys: Counter[str] = Counter()
        for account in sink["sources"].values():
            whys.update(account["dropped"])
            whys["refused by the endpoint"] += account["refused"]
        yield from (((label, why), rows) for why, rows in whys.items())
