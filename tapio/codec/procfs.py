"""The text of /proc → values (proc(5)); any bytes end in values or in a DecodeError."""

from __future__ import annotations

from typing import NamedTuple

from tapio.model.errors import DecodeError

_KERNEL_THREAD = 0x00200000
"""PF_KTHREAD of a task's flags (include/linux/sched.h)."""

_TICKS = range(1 << 39)
_MICROSECONDS = range(1 << 53)
"""Since boot: 170 and 280 years, so that nanoseconds fit into 64 bits."""

_COUNTER = range(-(1 << 63), 1 << 64)
"""What the kernel can print as a number: %lu, and -1 for ``MaxConn``."""


class Text(NamedTuple):
    """Text of the kernel, and whether invalid UTF-8 was replaced in it."""

    value: str
    replaced: bool


class Stat(NamedTuple):
    """What /proc/PID/stat says; ``start_ticks`` since boot, USER_HZ (100) a second."""

    pid: int
    comm: Text
    parent_pid: int
    kernel_thread: bool
    start_ticks: int


class Stall(NamedTuple):
    """A line of a pressure file: percent of the last 10, 60, 300 s, and µs in all."""

    avg10: float
    avg60: float
    avg300: float
    total_us: int


def text(data: bytes) -> Text:
    """``data`` as text; invalid UTF-8 is replaced."""
    try:
        return Text(data.decode(), False)
    except UnicodeDecodeError:
        return Text(data.decode(errors="replace"), True)


def stat(data: bytes) -> Stat:
    """/proc/PID/stat. The command stands in parentheses and may itself hold some."""
    opened, closed = data.find(b"("), data.rfind(b")")
    fields = data[closed + 1 :].split()
    if not 0 < opened < closed or len(fields) < 20:
        raise DecodeError("not a process's stat", offset=0)
    pid, parent, flags, start = (
        _number(f) for f in (data[:opened], fields[1], fields[6], fields[19])
    )
    if not all(0 <= n < 1 << 32 for n in (pid, parent, flags)) or start not in _TICKS:
        raise DecodeError("a process's stat with a number out of range", offset=0)
    comm = text(data[opened + 1 : closed])
    return Stat(pid, comm, parent, bool(flags & _KERNEL_THREAD), start)


def real_uid(data: bytes) -> int:
    """The real user id that /proc/PID/status says."""
    for line in data.split(b"\n"):
        if line.startswith(b"Uid:"):
            fields = line.split()
            uid = _number(fields[1]) if len(fields) > 1 else -1
            if 0 <= uid < 1 << 32:
                return uid
    raise DecodeError("a process's status without a Uid", offset=0)


def command_line(data: bytes) -> Text:
    """/proc/PID/cmdline: arguments, each ended by NUL, as one text joined by spaces."""
    return text(data.rstrip(b"\0").replace(b"\0", b" "))


def unified_cgroup(data: bytes) -> bytes:
    """The path in the unified tree of /proc/PID/cgroup; empty where there is no such line."""
    for line in data.split(b"\n"):
        if line.startswith(b"0::"):
            return line[3:].removesuffix(b" (deleted)")
    return b""


def counters(data: bytes, group: bytes) -> dict[str, int]:
    """The counters of one group (``Tcp``) of /proc/net/snmp or netstat.

    They stand in two lines, names and values, both headed by the group; no such lines is an
    empty answer.
    """
    rows = [line.split()[1:] for line in data.split(b"\n") if line.startswith(group + b":")]
    if not rows:
        return {}
    if len(rows) != 2 or len(rows[0]) != len(rows[1]):
        raise DecodeError(f"names and values of {text(group).value} do not match", offset=0)
    names = (name.decode(errors="replace") for name in rows[0])
    return dict(zip(names, map(_number, rows[1]), strict=True))


def pressure(data: bytes) -> dict[str, Stall]:
    """A pressure file (PSI): its lines by their first word, ``some`` and ``full``."""
    return dict(_stall(line) for line in data.split(b"\n") if line)


def _stall(line: bytes) -> tuple[str, Stall]:
    kind, *fields = line.split() or [b""]
    pairs = dict(_pair(field) for field in fields)
    if kind not in (b"some", b"full") or pairs.keys() != {"avg10", "avg60", "avg300", "total"}:
        raise DecodeError("not a line of a pressure file", offset=0)
    ten, sixty, three_hundred = (_percent(pairs[name]) for name in ("avg10", "avg60", "avg300"))
    total = _number(pairs["total"])
    if total not in _MICROSECONDS:
        raise DecodeError("a pressure file with a time out of range", offset=0)
    return kind.decode(), Stall(ten, sixty, three_hundred, total)


def _pair(field: bytes) -> tuple[str, bytes]:
    name, _, value = field.partition(b"=")
    return name.decode(errors="replace"), value


def _number(field: bytes) -> int:
    """A number as the kernel prints it: digits, perhaps a minus, at most 64 bits."""
    digits = field.strip()
    if not 0 < len(digits) <= 20 or not digits.removeprefix(b"-").isdigit():
        raise DecodeError("a number that is none", offset=0)
    value = int(digits)
    if value not in _COUNTER:
        raise DecodeError("a number beyond 64 bits", offset=0)
    return value


def _percent(field: bytes) -> float:
    whole, point, part = field.partition(b".")
    if not point or len(field) > 8 or not (whole.isdigit() and part.isdigit()):
        raise DecodeError("a share that is none", offset=0)
    return float(field)
