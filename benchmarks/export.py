"""The line to the wire, against a Collector with the same records in and out. Goal: ≥ 5 ×.

``tapio``: rings → identity → sampler → engine → OTLP sink with zstd → a blackhole. ``otelcol``:
the same requests, into a real Collector and out of it to a blackhole with zstd. ``…-plain``:
both without compression. CPU time of all processes and threads, start-up left out. Some bodies
are kept, and what Tapio and the Collector sent is compared record by record.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from benchmarks.blackhole import Blackhole, blackhole
from benchmarks.line import ROWS, host, line
from benchmarks.records import decoded
from benchmarks.result import Failed, Result, compared, interleaved
from benchmarks.sender import WARM_UP
from tapio.codec.otlp import Encoder
from tapio.sinks.otlp import Otlp
from tapio.sinks.otlp_sender import Sender, open_session
from tapio.sinks.otlp_target import Compression, target

ROOT = Path(__file__).parent.parent
PATIENCE_S = 60.0
KEEP_EVERY = 100
"""1 % of the bodies is kept."""
COMPRESSIONS: dict[Compression, str] = {"zstd": "", "none": "-plain"}

CONFIG = """
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}
exporters:
  otlphttp:
    endpoint: "{url}"
    compression: {compression}
    sending_queue: {{num_consumers: 1, queue_size: 4, block_on_overflow: true}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [otlphttp]}}
"""

Kept = dict[int, tuple[str, bytes]]


def run(*, quick: bool = False) -> Iterable[Result]:
    """CPU-seconds a million rows, the least of the rounds."""
    batches, rounds = (20, 1) if quick else (150, 3)
    with host() as root:
        for compression, suffix in list(COMPRESSIONS.items())[: 1 if quick else None]:
            bench = _Bench(_collector(), root, compression, batches)
            taken = interleaved(rounds, {"tapio": bench.ours, "otelcol": bench.theirs})
            bench.compare()
            ours, theirs = min(taken["tapio"]), min(taken["otelcol"])
            yield from compared(
                "export", "cpu_s/M_rows", {f"tapio{suffix}": ours}, {f"otelcol{suffix}": theirs}
            )


def _collector() -> Path:
    """The Collector that .ci/collector.sh has built."""
    script = ROOT / ".ci/collector.sh"
    said = subprocess.run([script, "--where"], capture_output=True, text=True, check=True)
    path = Path(said.stdout.strip())
    if not path.exists():
        raise Failed("there is no Collector to compare with; build it with .ci/collector.sh")
    return path


@dataclass
class _Bench:
    """The same requests by two ways; what was kept of each is remembered."""

    collector: Path
    root: Path
    compression: Compression
    batches: int
    kept: dict[str, Kept] = field(default_factory=dict)

    def ours(self) -> float:
        """CPU-seconds a million rows of a process that runs the pipeline."""
        with blackhole(KEEP_EVERY) as hole:
            arguments = [str(self.root), hole.url, self.compression, str(self.batches)]
            command = [sys.executable, "-m", "benchmarks.sender", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            said, count = json.loads(done.stdout), hole.count()
            if said["rows"] != count * ROWS or count != WARM_UP + self.batches:
                raise Failed(f"{said['rows']} rows came in {count} requests")
            self.kept["tapio"] = hole.kept()
        return float(said["cpu_s"]) / (self.batches * ROWS) * 1e6

    def theirs(self) -> float:
        """CPU-seconds a million rows of a Collector that takes and gives the same requests."""
        with (
            blackhole(KEEP_EVERY) as hole,
            _running(self.collector, hole.url, self.compression) as (pid, url),
        ):
            measured = _Measured(pid, hole)
            asyncio.run(_send(self.root, url, self.compression, self.batches, measured.begin))
            spent = measured.end(WARM_UP + self.batches)
            self.kept["otelcol"] = hole.kept()
        return spent / (self.batches * ROWS) * 1e6

    def compare(self) -> None:
        """The bodies that were kept, of the same number, hold the same records."""
        ours, theirs = self.kept["tapio"], self.kept["otelcol"]
        if not ours or ours.keys() != theirs.keys():
            raise Failed(f"bodies {sorted(ours)} and {sorted(theirs)} were kept: not the same")
        for number in ours:
            if decoded(_plain(*ours[number])) != decoded(_plain(*theirs[number])):
                raise Failed(f"request {number}: the Collector sent other records than Tapio")


@contextmanager
def _running(collector: Path, to: str, compression: Compression) -> Iterator[tuple[int, str]]:
    """A Collector: its process id, and the URL that it listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        config.write(CONFIG.format(port=port, url=to, compression=compression))
        config.flush()
        with subprocess.Popen([collector, "--config", config.name]) as process:
            try:
                _listening(port, process)
                yield process.pid, f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


def _listening(port: int, process: subprocess.Popen[bytes]) -> None:
    over = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < over:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise Failed("the Collector does not listen")


async def _send(
    root: Path, url: str, compression: Compression, batches: int, warm: Callable[[], None]
) -> None:
    """Send the line's batches, one request each; ``warm`` is called before the measured ones."""
    to = target(Otlp(url, compression=compression, timeout_s=PATIENCE_S), {})
    rows = await line(root, "process.exit")
    async with open_session(to, 1) as session:
        encoder = Encoder(rows.cx.resource, version=version("tapio"))
        with ThreadPoolExecutor(1) as thread:
            sender = Sender(to, session, thread, time.time_ns, logging.getLogger("tapio.bench"))
            for number in range(WARM_UP + batches):
                if number == WARM_UP:
                    warm()
                await sender.send(encoder.encode(rows.batch()))


@dataclass
class _Measured:
    """CPU time of a process from ``begin`` until the blackhole has all."""

    pid: int
    hole: Blackhole
    start: float = 0.0

    def begin(self) -> None:
        """What was sent so far is through."""
        self._wait(WARM_UP)
        self.start = _cpu_s(self.pid)

    def end(self, count: int) -> float:
        """Seconds, once ``count`` requests have come out."""
        self._wait(count)
        return _cpu_s(self.pid) - self.start

    def _wait(self, count: int) -> None:
        over = time.monotonic() + PATIENCE_S
        while self.hole.count() < count:
            if time.monotonic() > over:
                raise Failed(f"{self.hole.count()} of {count} requests came out of the Collector")
            time.sleep(0.02)


def _cpu_s(pid: int) -> float:
    """User and system time of a process and its threads (proc(5), stat, fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _plain(encoding: str, body: bytes) -> bytes:
    if encoding == "zstd":
        plain: bytes = pa.input_stream(pa.py_buffer(body), compression="zstd").read()
        return plain
    return body
