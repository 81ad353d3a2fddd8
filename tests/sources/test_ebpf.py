"""Anybody's object: a struct in a ring becomes rows with no Python written."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

from tapio.model.errors import ConfigError, KernelError
from tapio.sources.ebpf import Ebpf
from tests.kernel.running import compiled, run

pytestmark = pytest.mark.kernel

MINE = """
#include "kernel.h"
#include "tapio.h"
struct inner { __u16 low; __s16 high; };
enum color { RED, GREEN = 7 };
struct other { __u64 a, b; };
struct my_event {
	__u64 at;
	__u32 pid;
	__s32 change;
	struct inner inner;
	struct inner several[2];
	enum color color;
	bool yes;
	__u8 mac[6];
	char name[16];
	char line[100];
	double ratio;
	union { __u32 word; __u8 first; };
};
struct whole { __u64 seq; };
TAPIO_RECORD(my_event);
TAPIO_RECORD(whole);
TAPIO_RING(events);
SEC("tp_btf/sched_process_exec")
int BPF_PROG(mine, struct task_struct *task)
{
	struct my_event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->at = bpf_ktime_get_ns();
	e->pid = task->tgid;
	e->change = -5;
	e->inner.low = 1;
	e->inner.high = -2;
	e->several[1].low = 3;
	e->color = GREEN;
	e->yes = true;
	e->mac[5] = 9;
	e->word = 0x0102;
	bpf_probe_read_kernel_str(e->name, sizeof(e->name), task->comm);
	__builtin_memcpy(e->line, "rubbish\\0behind", 14);
	bpf_ringbuf_submit(e, 0);
	struct other *o = bpf_ringbuf_reserve(&events, sizeof(*o), 0);
	if (o)
		bpf_ringbuf_submit(o, 0);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="session")
def mine(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of an object that this project does not ship."""
    return str(compiled(MINE, tmp_path_factory.mktemp("objects")))


async def rows_of(source: Ebpf) -> tuple[int, list[dict[str, Any]], dict[str, int]]:
    """Start one process; its pid, the rows, the account."""
    pids: list[int] = []

    def body() -> None:
        child = subprocess.Popen(["true"])
        child.wait()
        pids.append(child.pid)

    said = await run(source, body)
    (topic,) = said.accounts
    return pids[0], said.rows(topic), said.accounts[topic]


@pytest.mark.parametrize("consumer", ["mapped", "libbpf"])
async def test_every_field_is_typed(
    mine: str, consumer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nested structs, arrays, enums, unions, text; and records of another length are counted."""
    monkeypatch.setenv("TAPIO_RING", consumer)
    pid, rows, account = await rows_of(Ebpf(mine, record="my_event", time="at"))
    (row,) = [row for row in rows if row["pid"] == pid]
    at = row.pop("at")
    assert abs(row.pop("time_ns") - time.time_ns()) < 60_000_000_000
    assert abs(at - time.monotonic_ns()) < 60_000_000_000
    row.pop("seq")
    assert row == {
        "severity": 9,
        "pid": pid,
        "change": -5,
        "inner_low": 1,
        "inner_high": -2,
        "several_0_low": 0,
        "several_0_high": 0,
        "several_1_low": 3,
        "several_1_high": 0,
        "color": 7,
        "yes": True,
        "mac": b"\0\0\0\0\0\t",
        "name": "true",
        "line": "rubbish",
        "ratio": 0.0,
        "word": 0x0102,
        "first": 2,
    }
    assert account["malformed"] == account["taken"] == len(rows)


async def test_without_a_time_field_rows_have_the_time_of_reading(mine: str) -> None:
    """And the topic and severity that are said by default."""
    before = time.time_ns()
    source = Ebpf(mine, record="my_event", topic="my.topic", ring="events")
    _, rows, _ = await rows_of(source)
    assert before < rows[0]["time_ns"] < time.time_ns()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"record": "your_event"}, "no struct 'your_event' in the object's BTF; it has"),
        ({"record": "my_event", "time": "when"}, "no u64 field 'when'"),
        ({"record": "my_event", "time": "pid"}, "no u64 field 'pid'"),
        ({"record": "my_event", "ring": "eventz"}, "name one ring buffer of .*: events"),
        ({"record": "whole"}, "field 'seq', which means something else in a batch: rename"),
        ({"record": "my_event", "topic": "My Topic"}, "not lower-case words"),
    ],
)
async def test_what_does_not_fit_the_object_is_a_config_error(
    mine: str, options: dict[str, str], reason: str
) -> None:
    """The sentence says what there is, before anything is loaded."""
    with pytest.raises(ConfigError, match=reason):
        await run(Ebpf(mine, **options), lambda: None)  # type: ignore[arg-type]


async def test_an_object_that_is_none_says_how_one_is_made() -> None:
    """The path, and clang's options."""
    with pytest.raises(KernelError, match="is not a BPF object that libbpf takes"):
        await run(Ebpf(sys.executable, record="r"), lambda: None)
