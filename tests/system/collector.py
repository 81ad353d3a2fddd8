"""A real OpenTelemetry Collector on loopback that writes what it receives to a file."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 20.0

CONFIG = """
receivers:
  otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}
exporters:
  file: {{path: "{out}", append: true, flush_interval: 10ms}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [file]}}
"""


def binary() -> Path:
    """The Collector that .ci/collector.sh builds; the test is skipped where nobody did."""
    said = subprocess.run(
        [ROOT / ".ci/collector.sh", "--where"], capture_output=True, text=True, check=True
    )
    path = Path(said.stdout.strip())
    if not path.exists():
        pytest.skip("no Collector; build it with .ci/collector.sh")
    return path


@dataclass(frozen=True)
class Collector:
    """One Collector: its port and its file, which outlive a run."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start it, wait until it listens; SIGTERM at the end, and it writes out what it has."""
        config = self.folder / "collector.yaml"
        config.write_text(CONFIG.format(port=self.port, out=self.folder / "out.jsonl"))
        with (self.folder / "collector.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(binary(), "--config", config), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            await self._listening(process)
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(PATIENCE_S):
                await process.wait()

    async def _listening(self, process: asyncio.subprocess.Process) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                writer.close()
                return
        said = (self.folder / "collector.log").read_text()
        raise AssertionError(f"the Collector ended before it listened: {said}")

    def records(self) -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
        """(resource attributes, record, record's attributes) of all that it has written."""
        return list(_records(self.folder / "out.jsonl"))


def collector(folder: Path) -> Collector:
    """A Collector of its own port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return Collector(folder, free.getsockname()[1])


def _records(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    for line in path.read_text().splitlines():
        for logs in json.loads(line)["resourceLogs"]:
            resource = _attributes(logs["resource"])
            for record in (r for scope in logs["scopeLogs"] for r in scope["logRecords"]):
                yield resource, record, _attributes(record)


def _attributes(said: dict[str, Any]) -> dict[str, Any]:
    return {a["key"]: _value(a["value"]) for a in said.get("attributes", ())}


def _value(said: dict[str, Any]) -> Any:
    """OTLP's JSON mapping: 64-bit integers are text, bytes base64, NaN and infinities words."""
    ((kind, value),) = said.items()
    if kind == "intValue":
        return int(value)
    if kind == "bytesValue":
        return base64.b64decode(value)
    return float(value) if kind == "doubleValue" else value
