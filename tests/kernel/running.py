"""Runs a source for as long as something happens, and gives back what it said."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from logging import Handler, Logger, LogRecord
from pathlib import Path
from typing import Any

from tapio.model.batch import Batch
from tapio.model.errors import EndOfStream
from tapio.model.stage import Context, Read, Source
from tapio.model.ticket import Outcome
from tests.contexts import context

BPF = Path(__file__).parents[2] / "bpf"
HERE = Path(__file__).parent


@dataclass
class Said:
    """Batches in order, rows by topic, and the account that was logged at the end."""

    batches: list[Batch] = field(default_factory=list)
    accounts: dict[str, dict[str, int]] = field(default_factory=dict)

    def rows(self, topic: str) -> list[dict[str, Any]]:
        """All rows of ``topic``."""
        mine = [batch for batch in self.batches if batch.topic == topic]
        return [row for batch in mine for row in batch.to_arrow().to_pylist()]


class Accounts(Handler):
    """Reads the account of each topic out of the log."""

    def __init__(self, said: Said) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: LogRecord) -> None:
        """Take the line if it is one."""
        match = re.fullmatch(r"([a-z_.]+): (\w+=-?\d+(?: \w+=-?\d+)*)", record.getMessage())
        if match:
            pairs = (pair.split("=") for pair in match[2].split())
            self._said.accounts[match[1]] = {name: int(rows) for name, rows in pairs}


def listening(said: Said, **changes: Any) -> Context:
    """A Context whose log goes to ``said``."""
    logger = Logger("listening")  # noqa: LOG001 - one a test, and gone with it
    logger.addHandler(Accounts(said))
    return replace(context(**changes), logger=logger)


async def run(source: Source, body: Callable[[], Any], **changes: Any) -> Said:
    """Open ``source``, do ``body`` on a thread, stop, and read to the end."""
    said = Said()
    cx = listening(said, **changes)
    async with source.open(cx) as read, asyncio.TaskGroup() as group:
        group.create_task(_stop_after(cx, body))
        await to_end(read, said)
    return said


async def _stop_after(cx: Context, body: Callable[[], Any]) -> None:
    try:
        await asyncio.to_thread(body)
    finally:
        cx.stopping.set()  # type: ignore[attr-defined]


async def to_end(read: Read, said: Said) -> None:
    """Read until EndOfStream."""
    while True:
        try:
            batch, ticket = await read()
        except EndOfStream:
            return
        ticket.settle(Outcome.DONE)
        said.batches.append(batch)


@cache
def compiled(source: str, into: Path) -> Path:
    """The object of C ``source``, compiled as the shipped ones are."""
    into.mkdir(exist_ok=True)
    path = into / f"{abs(hash(source)):x}.bpf.o"
    flags = ["-target", "bpf", "-mcpu=v3", "-g", "-O2", "-fms-extensions",
             "-Wno-microsoft-anon-tag", "-Wno-missing-declarations",
             f"-I{BPF}", f"-I{BPF}/include", f"-I/usr/include/{triple()}"]  # fmt: skip
    command = ["clang", *flags, "-x", "c", "-c", "-", "-o", str(path)]
    subprocess.run(command, input=source, text=True, check=True)
    return path


@cache
def triple() -> str:
    """Where the machine's own headers are."""
    said = subprocess.run(["clang", "-print-target-triple"], capture_output=True, text=True)
    return said.stdout.strip().replace("-pc-", "-").replace("-unknown-", "-")


def balanced(account: dict[str, int]) -> bool:
    """Whether the three equations of rule 7 hold exactly."""
    a = account
    return (
        a["fired"] == a["filtered"] + a["sampled_out"] + a["limited"] + a["attempted"]
        and a["attempted"] == a["committed"] + a["lost"]
        and a["committed"] == a["taken"] + a["malformed"] + a["in_ring"]
    )
