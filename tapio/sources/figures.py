"""What the kernel says about the whole node: TCP counters, and pressure (PSI)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tapio.codec import procfs
from tapio.codec.procfs import Stall
from tapio.model.batch import Batch
from tapio.model.schema import INFO, Field, Schema
from tapio.sources.processes import coded, contents

FILE_BYTES = 1 << 16
"""netstat has some 6 KiB."""

_COUNTERS = {
    "active_opens": ("Tcp", "ActiveOpens", "Connections begun here."),
    "passive_opens": ("Tcp", "PassiveOpens", "Connections accepted here."),
    "attempt_fails": ("Tcp", "AttemptFails", "Connections that were never established."),
    "established_resets": ("Tcp", "EstabResets", "Connections reset that were established."),
    "segments_in": ("Tcp", "InSegs", "Segments received."),
    "segments_out": ("Tcp", "OutSegs", "Segments sent, those sent again aside."),
    "retransmits": ("Tcp", "RetransSegs", "Segments sent again."),
    "errors_in": ("Tcp", "InErrs", "Segments received in error."),
    "resets_out": ("Tcp", "OutRsts", "Resets sent."),
    "listen_overflows": ("TcpExt", "ListenOverflows", "Connections lost to a full accept queue."),
    "listen_drops": ("TcpExt", "ListenDrops", "Connections that a listener dropped."),
    "timeouts": ("TcpExt", "TCPTimeouts", "Retransmission timeouts."),
    "syn_retransmits": ("TcpExt", "TCPSynRetrans", "SYNs sent again."),
    "aborts_on_timeout": ("TcpExt", "TCPAbortOnTimeout", "Connections given up by a timeout."),
    "aborts_on_memory": ("TcpExt", "TCPAbortOnMemory", "Connections given up for memory."),
}
"""Column → its group and name in net/snmp (RFC 1213, RFC 4022) or net/netstat, and its meaning."""

TCP = Schema.of(
    "tcp.counters",
    Field("interval_ns", "uint64", "ns", doc="Time that the counts are of."),
    Field("established", "uint64", doc="Connections established now."),
    *(Field(name, "uint64", doc=doc) for name, (_, _, doc) in _COUNTERS.items()),
)
RESOURCES = ("cpu", "memory", "io", "irq")
PRESSURE = Schema.of(
    "pressure.stall",
    Field("interval_ns", "uint64", "ns", doc="Time that some_ns and full_ns are of."),
    Field("resource", "text", doc="What was waited for: cpu, memory, io or irq."),
    *(
        Field(f"{kind}_{what}", "float64" if unit == "%" else "uint64", unit, doc=doc + whom)
        for kind, whom in (
            ("some", ", of which at least one task waited."),
            ("full", ", of which all tasks waited."),
        )
        for what, unit, doc in (
            ("avg10", "%", "Share of the last 10 s"),
            ("avg60", "%", "Share of the last minute"),
            ("avg300", "%", "Share of the last 5 minutes"),
            ("ns", "ns", "Part of the interval"),
        )
    ),
)
_NOTHING = Stall(0.0, 0.0, 0.0, 0)


class Moment(NamedTuple):
    """When a look was: on the wall, and on a clock that nobody sets."""

    wall_ns: int
    steady_ns: int


class Tcp:
    """The counters of the host's network namespace, by difference. Blocking."""

    def __init__(self, host_root: Path) -> None:
        self._net = host_root / "proc" / "1" / "net"
        self._before: tuple[Moment, dict[str, int]] | None = None

    def look(self, now: Moment) -> Batch | None:
        """One row, from the second look on. OSError or DecodeError where they cannot be read.

        A counter that this kernel has not reads 0. No row where one went back: somebody else
        is pid 1 now.
        """
        groups = {
            "Tcp": procfs.counters(contents(str(self._net / "snmp"), FILE_BYTES), b"Tcp"),
            "TcpExt": procfs.counters(contents(str(self._net / "netstat"), FILE_BYTES), b"TcpExt"),
        }
        values = {n: max(0, groups[g].get(name, 0)) for n, (g, name, _) in _COUNTERS.items()}
        before, self._before = self._before, (now, values)
        if before is None or any(values[n] < before[1][n] for n in values):
            return None
        change = {n: np.array([values[n] - before[1][n]], np.uint64) for n in values}
        established = np.array([max(0, groups["Tcp"].get("CurrEstab", 0))], np.uint64)
        columns = _common(now, before[0], 1) | change | {"established": established}
        return Batch(TCP, columns)


class Pressure:
    """Who waits for processor, memory, disks and interrupts, node-wide. Blocking."""

    def __init__(self, host_root: Path) -> None:
        self._folder = host_root / "proc" / "pressure"
        self._before: tuple[Moment, dict[str, dict[str, Stall]]] | None = None

    def look(self, now: Moment) -> Batch | None:
        """One row a resource that the kernel knows, from the second look on.

        OSError where there is none (no PSI), DecodeError.
        """
        said = self._read()
        before, self._before = self._before, (now, said)
        if before is None:
            return None
        known = [r for r in said if r in before[1]]
        columns = _common(now, before[0], len(known))
        columns["resource"] = coded(known)
        for kind in ("some", "full"):
            stalls = [said[r].get(kind, _NOTHING) for r in known]
            earlier = [before[1][r].get(kind, _NOTHING) for r in known]
            for name in ("avg10", "avg60", "avg300"):
                columns[f"{kind}_{name}"] = np.array([getattr(s, name) for s in stalls], np.float64)
            waited = [
                1000 * max(0, s.total_us - e.total_us) for s, e in zip(stalls, earlier, strict=True)
            ]
            columns[f"{kind}_ns"] = np.array(waited, np.uint64)
        return Batch(PRESSURE, columns)

    def _read(self) -> dict[str, dict[str, Stall]]:
        found = {}
        for resource in RESOURCES:
            path = self._folder / resource
            if path.exists():
                found[resource] = procfs.pressure(contents(str(path), FILE_BYTES))
        if not found:
            raise FileNotFoundError(2, "No such file or directory", str(self._folder))
        return found


def _common(now: Moment, before: Moment, rows: int) -> dict[str, Any]:
    interval = max(0, now.steady_ns - before.steady_ns)
    return {
        "time_ns": np.full(rows, now.wall_ns, np.int64),
        "seq": np.arange(rows, dtype=np.uint64),
        "severity": np.full(rows, INFO, np.uint8),
        "interval_ns": np.full(rows, interval, np.uint64),
    }
