"""The text of /proc: the running kernel's own files, and any bytes whatever."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.codec import procfs
from tapio.codec.procfs import Stall, Text
from tapio.model.errors import DecodeError

SELF = Path("/proc/self")


def test_our_own_stat() -> None:
    """The running process's stat says what the process knows of itself."""
    found = procfs.stat((SELF / "stat").read_bytes())
    assert (found.pid, found.parent_pid) == (os.getpid(), os.getppid())
    assert found.comm.value == (SELF / "comm").read_text().strip()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - found.start_ticks / os.sysconf("SC_CLK_TCK")
    assert 0 <= age < 3600
    assert not found.kernel_thread


TAIL = b" S 7 1 1 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 12345 1000 10 18446744073709551615"


@pytest.mark.parametrize(
    ("comm", "text"),
    [
        (b"bash", Text("bash", False)),
        (b"a) R 1 (b", Text("a) R 1 (b", False)),
        (b"two words\n", Text("two words\n", False)),
        (b"", Text("", False)),
        (b"\xff", Text("\ufffd", True)),
    ],
)
def test_the_command_may_hold_anything(comm: bytes, text: Text) -> None:
    """Parentheses, spaces and bad UTF-8 in a command's name mislead nobody."""
    found = procfs.stat(b"42 (" + comm + b")" + TAIL)
    assert found == (42, text, 7, False, 12345)


def test_a_kernel_thread_is_told() -> None:
    """The kernel marks its own threads by a flag (kthreadd's is 2129984)."""
    assert procfs.stat(b"2 (kthreadd)" + TAIL.replace(b"4194304", b"2129984")).kernel_thread


def test_the_real_uid() -> None:
    """Of the four ids it is the first."""
    assert procfs.real_uid((SELF / "status").read_bytes()) == os.getuid()
    assert procfs.real_uid(b"Name:\tUid:\nUid:\t5\t6\t7\t8\n") == 5


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", Text("", False)),
        (b"ls\0-l\0a b\0", Text("ls -l a b", False)),
        (b"cut he", Text("cut he", False)),
        (b"a\0\0b\0\0", Text("a  b", False)),
        (b"\xc3\xa9\0\xff\0", Text("\u00e9 \ufffd", True)),
    ],
)
def test_command_lines(data: bytes, text: Text) -> None:
    """Arguments are joined by spaces; bad UTF-8 is replaced, and said."""
    assert procfs.command_line(data) == text


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b"0::/kubepods/pod1\n", b"/kubepods/pod1"),
        (b"4:memory:/m\n0::/u\n", b"/u"),
        (b"0::/gone (deleted)\n", b"/gone"),
        (b"4:memory:/m\n", b""),
        (b"", b""),
        (b"0::/\xff\n", b"/\xff"),
    ],
)
def test_cgroups(data: bytes, path: bytes) -> None:
    """Only the unified tree's line counts."""
    assert procfs.unified_cgroup(data) == path


def test_counters() -> None:
    """Names and values stand in two lines of one group."""
    data = b"Ip: A B\nIp: 1 2\nTcp: RtoMin MaxConn X\nTcp: 200 -1 18446744073709551615\n"
    assert procfs.counters(data, b"Tcp") == {"RtoMin": 200, "MaxConn": -1, "X": 2**64 - 1}
    assert procfs.counters(data, b"Udp") == {}


def test_the_kernels_own_counters() -> None:
    """The running kernel's files have the groups that are read."""
    assert procfs.counters(Path("/proc/net/snmp").read_bytes(), b"Tcp")["RtoMin"] > 0
    assert "ListenDrops" in procfs.counters(Path("/proc/net/netstat").read_bytes(), b"TcpExt")


def test_pressure() -> None:
    """Some and full have three averages and a total each."""
    data = b"some avg10=0.62 avg60=0.98 avg300=4.61 total=153429448\n"
    data += b"full avg10=0.00 avg60=0.00 avg300=100.00 total=0\n"
    assert procfs.pressure(data) == {
        "some": Stall(0.62, 0.98, 4.61, 153429448),
        "full": Stall(0.0, 0.0, 100.0, 0),
    }
    assert procfs.pressure(b"") == {}


PARSERS: list[Callable[[bytes], object]] = [
    procfs.stat,
    procfs.real_uid,
    procfs.command_line,
    procfs.unified_cgroup,
    lambda data: procfs.counters(data, b"Tcp"),
    procfs.pressure,
]
SAMPLES = [
    b"42 (bash)" + TAIL,
    b"Name:\tx\nUid:\t5\t6\t7\t8\n",
    b"ls\0-l\0",
    b"0::/kubepods/pod1\n",
    b"Tcp: RtoMin X\nTcp: 200 -1\n",
    b"some avg10=0.62 avg60=0.98 avg300=4.61 total=153429448\n",
]
PIECES = [
    b"-",
    b"\xff",
    b"9" * 30,
    b"1_0",
    b" ",
    b"\n",
    b"(",
    b")",
    b"=",
    b".",
    b"nan",
    b"\xd9\xa1",
    b"",
]


@given(st.integers(0, 5), st.data())
def test_any_bytes(which: int, data: st.DataObject) -> None:
    """Damaged files and mere bytes end in values that fit their columns, or in DecodeError."""
    content = bytearray(SAMPLES[which])
    if data.draw(st.booleans()):
        content = bytearray(data.draw(st.binary(max_size=100)))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content)))
        end = at + data.draw(st.integers(0, 6))
        content[at:end] = data.draw(st.sampled_from(PIECES) | st.binary(max_size=3))
    try:
        found = PARSERS[which](bytes(content))
    except DecodeError:
        return
    for number in numbers(found):
        assert -(2**63) <= number < 2**64


def numbers(found: object) -> list[int | float]:
    """All numbers in what a parser found."""
    if isinstance(found, dict):
        return [n for value in found.values() for n in numbers(value)]
    if isinstance(found, tuple):
        return [n for value in found for n in numbers(value)]
    return [found] if isinstance(found, int | float) else []


@pytest.mark.parametrize(
    ("parse", "data"),
    [
        (procfs.stat, b""),
        (procfs.stat, b"1 (x) S 1 2 3"),
        (procfs.stat, b"-1 (x)" + TAIL),
        (procfs.stat, b"1 (x)" + TAIL.replace(b"12345", b"-5")),
        (procfs.stat, b"1 (x)" + TAIL.replace(b"12345", b"1" + b"0" * 12)),
        (procfs.stat, b"1_0 (x)" + TAIL),
        (procfs.real_uid, b"Uid:\n"),
        (procfs.real_uid, b"Uid:\t4294967296\n"),
        (procfs.real_uid, b"Name: x\n"),
        (lambda d: procfs.counters(d, b"Tcp"), b"Tcp: A B\nTcp: 1\n"),
        (lambda d: procfs.counters(d, b"Tcp"), b"Tcp: A\n"),
        (lambda d: procfs.counters(d, b"Tcp"), b"Tcp: A\nTcp: x\n"),
        (lambda d: procfs.counters(d, b"Tcp"), b"Tcp: A\nTcp: 18446744073709551616\n"),
        (lambda d: procfs.counters(d, b"Tcp"), b"Tcp: A\nTcp: " + b"9" * 5000),
        (procfs.pressure, b"most avg10=0.62 avg60=0.98 avg300=4.61 total=1\n"),
        (procfs.pressure, b"some avg10=0.62 avg60=0.98 total=1\n"),
        (procfs.pressure, b"some avg10=nan avg60=0.98 avg300=4.61 total=1\n"),
        (procfs.pressure, b"some avg10=0.1 avg60=0.98 avg300=4.61 total=-1\n"),
        (procfs.pressure, b"some avg10=0.1 avg60=0.98 avg300=4.61 total=9999999999999999999\n"),
    ],
)
def test_what_is_refused(parse: Callable[[bytes], object], data: bytes) -> None:
    """Files that are cut, or whose numbers are none or out of range, are refused."""
    with pytest.raises(DecodeError):
        parse(data)
