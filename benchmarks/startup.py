"""From the start of `python -m tapio` to its first event, readable in a file. Goal: < 1.5 s.

The default pipeline runs: by eBPF where it can, else from /proc. Processes start all the time
meanwhile, so that what is waited for is Tapio. Its file sink gathers rows for a second; here it
does not wait, for how long rows may gather is a setting and not a cost.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from benchmarks.result import Failed, Result

PATIENCE_S = 30.0


def run(*, quick: bool = False) -> Iterable[Result]:
    """The median of several cold starts (the page cache is warm)."""
    with processes():
        taken = [first_event_s() for _ in range(1 if quick else 7)]
    yield Result("startup", "first_event_s", statistics.median(taken), "s")


@contextmanager
def processes() -> Iterator[None]:
    """Start a short process every 20 ms, for as long as the block lasts."""
    over = threading.Event()

    def start() -> None:
        while not over.wait(0.02):
            subprocess.run(["/bin/true"], check=True)

    thread = threading.Thread(target=start)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def first_event_s() -> float:
    """Seconds from the start of a fresh process to the first row that can be read."""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows"
        settings = [f"sinks.0.path={rows}", "sinks.0.max_age_s=0.001", "batch.0.max_age_s=0.001"]
        command = [sys.executable, "-m", "tapio", "run", "--state-dir", folder, "--listen", "off"]
        command += [word for setting in settings for word in ("--set", setting)]
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            while not any(map(has_rows, rows.glob("*"))):
                if process.poll() is not None or time.monotonic() - start > PATIENCE_S:
                    raise Failed(f"no event came: {stopped(process)}")
                time.sleep(0.005)
            return time.monotonic() - start
        finally:
            stopped(process)


def has_rows(file: Path) -> bool:
    """Whether a reader finds a row in an Arrow file that is still being written."""
    try:
        with pa.OSFile(str(file)) as stream, pa.ipc.open_stream(stream) as reader:
            return bool(reader.read_next_batch().num_rows)
    except (pa.ArrowInvalid, OSError, StopIteration):
        return False


def stopped(process: subprocess.Popen[bytes]) -> str:
    """What the process said, after it has been asked to stop and has."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    return process.communicate(timeout=PATIENCE_S)[1].decode(errors="replace")
