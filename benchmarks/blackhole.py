"""``python -m benchmarks.blackhole FOLDER EVERY``: an OTLP receiver that forgets what it takes.

It answers every POST with an empty success and keeps each EVERYth body, the first included, as
FOLDER/NUMBER.ENCODING. GET answers how many it took. Its port is the first line of its output.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HEAD_MAX = 64 << 10
BODY_MAX = 64 << 20
_TAKEN = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Store:
    """What was taken: a count, and every so manieth body in a file."""

    folder: Path
    every: int
    count: int = 0

    def take(self, body: bytes, encoding: str) -> None:
        """One request's body."""
        if self.count % self.every == 0:
            (self.folder / f"{self.count}.{encoding}").write_bytes(body)
        self.count += 1


async def serve(store: Store) -> None:
    """Listen on a port of its own until killed."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await _answer(store, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _answer(store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
    if first.startswith("GET"):
        said = str(store.count).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
        return
    size = int(headers["content-length"])
    if size > BODY_MAX:
        raise ConnectionError("a body beyond all bounds")
    store.take(await reader.readexactly(size), headers.get("content-encoding", "none"))
    writer.write(_TAKEN)


@dataclass(frozen=True)
class Blackhole:
    """A running one."""

    url: str
    folder: Path

    def count(self) -> int:
        """How many requests it has taken."""
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            return int(answer.read())

    def kept(self) -> dict[int, tuple[str, bytes]]:
        """Number → (encoding, body) of what it kept."""
        files = self.folder.iterdir()
        return {int(f.stem): (f.suffix[1:], f.read_bytes()) for f in files}


@contextmanager
def blackhole(every: int) -> Iterator[Blackhole]:
    """Start one in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.blackhole", folder, str(every)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                yield Blackhole(f"http://127.0.0.1:{int(process.stdout.readline())}", Path(folder))
            finally:
                process.kill()


if __name__ == "__main__":
    asyncio.run(serve(Store(Path(sys.argv[1]), int(sys.argv[2]))))
