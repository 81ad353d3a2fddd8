"""TCP counters and pressure: the kernel's own, and files that say something odd."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tapio.sources.figures import PRESSURE, TCP, Moment, Pressure, Tcp
from tests.sources.hosts import ROOT, rows


def traffic() -> None:
    """One connection over loopback, accepted and closed."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0],
    ):
        pass


@pytest.fixture
def our_network(tmp_path: Path) -> Path:
    """A host root whose pid 1 is this process: its network namespace is ours."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "1").symlink_to("/proc/self")
    return tmp_path


def test_tcp_counters(our_network: Path) -> None:
    """Connections made between two looks are counted, and only those."""
    tcp = Tcp(our_network)
    assert tcp.look(Moment(0, 0)) is None
    for _ in range(3):
        traffic()
    batch = tcp.look(Moment(5, 2_000))
    assert batch is not None
    assert batch.schema == TCP
    assert batch["active_opens"][0] >= 3
    assert batch["passive_opens"][0] >= 3
    assert batch["active_opens"][0] < 1000
    assert (batch["time_ns"][0], batch["interval_ns"][0]) == (5, 2_000)


SNMP = "Tcp: ActiveOpens CurrEstab\nTcp: {} -1\n"


def test_counters_that_went_back_are_left_out(tmp_path: Path) -> None:
    """When pid 1 is another one, one interval is not known; then it goes on."""
    net = tmp_path / "proc" / "1" / "net"
    net.mkdir(parents=True)
    (net / "netstat").write_text("")
    tcp = Tcp(tmp_path)
    seen = []
    for opens in (5, 9, 2, 2**64 - 1):
        (net / "snmp").write_text(SNMP.format(opens))
        batch = tcp.look(Moment(0, 0))
        seen.append(None if batch is None else int(batch["active_opens"][0]))
    assert seen == [None, 4, None, 2**64 - 3]


def test_pressure() -> None:
    """One row a resource; what was waited is no longer than the interval can be."""
    pressure = Pressure(ROOT)
    assert pressure.look(Moment(0, time.monotonic_ns())) is None
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        time.sleep(0.2)
        busy.kill()
    batch = pressure.look(Moment(7, time.monotonic_ns()))
    assert batch is not None
    assert batch.schema == PRESSURE
    assert batch["resource"].to_pylist()[:3] == ["cpu", "memory", "io"]
    assert (batch["some_ns"] <= batch["interval_ns"] * 2).all()
    assert (batch["some_avg10"] <= 100).all()


def psi(total: int) -> str:
    """A line of a pressure file."""
    return f"some avg10=1.50 avg60=2.00 avg300=3.00 total={total}\n"


def test_pressure_by_difference(tmp_path: Path) -> None:
    """Totals are told by difference in ns; a resource without a line for all reads 0 there."""
    folder = tmp_path / "proc" / "pressure"
    folder.mkdir(parents=True)
    pressure = Pressure(tmp_path)
    for total in (1_000, 1_250):
        (folder / "io").write_text(psi(total))
        batch = pressure.look(Moment(0, 10 * total))
    assert batch is not None
    assert rows([batch], "pressure.stall") == [
        {"time_ns": 0, "seq": 0, "severity": 9, "interval_ns": 2_500, "resource": "io"}
        | {"some_avg10": 1.5, "some_avg60": 2.0, "some_avg300": 3.0, "some_ns": 250_000}
        | {"full_avg10": 0.0, "full_avg60": 0.0, "full_avg300": 0.0, "full_ns": 0}
    ]
