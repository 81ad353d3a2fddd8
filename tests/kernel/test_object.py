"""Each refusal is one sentence that says what to do; and the capabilities that are enough."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tapio.kernel import capability, libbpf, vmlinux
from tapio.kernel.object import Object
from tapio.model.errors import KernelError
from tapio.observers.process import OBJECT
from tests.kernel.running import compiled

pytestmark = pytest.mark.kernel

PROGRAM = """
#include "kernel.h"
#include "tapio.h"
TAPIO_RING(rows);
SEC("{section}")
int BPF_PROG(mine, struct task_struct *task) {{ {body} }}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled objects are kept."""
    return tmp_path_factory.mktemp("objects")


def loaded(path: Path) -> None:
    """Open and load it."""
    with Object.open(path) as object:
        object.load()


def program(objects: Path, section: str, body: str = "return 0;") -> Path:
    """An object of one program."""
    return compiled(PROGRAM.format(section=section, body=body), objects)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The path and the reason."""
    with pytest.raises(KernelError, match=r"cannot read the object .*none.o: No such file"):
        Object.open(tmp_path / "none.o")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x7fELF" + bytes(60)])
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, text, or a damaged ELF file."""
    path = tmp_path / "x.o"
    path.write_bytes(content)
    with pytest.raises(KernelError, match=r"x.o is not a BPF object that libbpf takes \(clang"):
        Object.open(path)


def test_a_hook_that_does_not_exist_is_named(objects: Path) -> None:
    """A tracepoint or function that this kernel lacks is said before anything is loaded."""
    with pytest.raises(KernelError, match="no tracepoint 'no_such_thing', which mine needs: "):
        loaded(program(objects, "tp_btf/no_such_thing"))
    with pytest.raises(KernelError, match="no function 'no_such_thing', which mine needs: "):
        loaded(program(objects, "fentry/no_such_thing"))


def test_the_verifiers_last_lines_are_in_the_error(objects: Path) -> None:
    """A program that the verifier refuses: why, in its words."""
    path = program(objects, "tp_btf/sched_process_exec", "return *(int *)((long)task + (1 << 28));")
    with pytest.raises(KernelError, match=r"the kernel refuses .*access beyond struct task_struct"):
        loaded(path)


def test_a_map_or_program_that_is_not_there_names_those_that_are() -> None:
    """The wrong object is recognised by what it lacks."""
    with Object.open(OBJECT) as object:
        with pytest.raises(KernelError, match=r"no map 'rows'; it has .*ring_exec, ring_exit"):
            object.resize("rows", 4096)
        with pytest.raises(KernelError, match="no program 'other'"):
            object.autoload("other", on=True)


def test_a_ring_has_a_power_of_two_of_pages(objects: Path) -> None:
    """Other sizes are rounded up, and the caller is told."""
    with Object.open(program(objects, "tp_btf/sched_process_exec")) as object:
        assert [object.resize("rows", size) for size in (1, 5000, 1 << 20)] == [4096, 8192, 1 << 20]
        object.load()


def test_an_object_can_be_closed_twice() -> None:
    """Closing lets go of everything once."""
    object = Object.open(OBJECT)
    object.load()
    object.attach()
    object.close()
    object.close()
    assert object.recursion_misses is not None


def test_signals_do_not_disturb_loading() -> None:
    """The verifier gives up when one is pending; another process sends them without end."""
    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    sender = subprocess.Popen(["/bin/sh", "-c", f"while kill -USR1 {os.getpid()}; do :; done"])
    try:
        for _ in range(3):
            loaded(OBJECT)
    finally:
        sender.kill()
        sender.wait()
        signal.signal(signal.SIGUSR1, before)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_the_arguments_of_a_tracepoint_are_counted() -> None:
    """From the kernel's own BTF; -1 where there is no such tracepoint."""
    assert vmlinux.arguments("sched_process_exec") == 3
    assert vmlinux.arguments("no_such_thing") == -1


def test_here_nothing_is_missing() -> None:
    """As root, with libbpf and BTF, observers can be tried."""
    assert capability.missing() == []
    assert libbpf.version().startswith("v1.")


MISSING = "from tapio.kernel import capability; print(*capability.missing(), sep='; ')"
ATTACH = """
import asyncio, subprocess, sys
from tapio.observers.process import Process
from tests.kernel.running import run
said = asyncio.run(run(Process(), lambda: subprocess.run(["true"])))
print([row["exit_code"] for row in said.rows("process.exit") if row["comm"] == "true"])
"""


def under(capabilities: str, code: str) -> str:
    """What ``code`` prints as UID 0 with only ``capabilities``; its last line of error else."""
    bounded = ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}"]
    command = [*bounded, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    return done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]


def test_two_capabilities_are_enough() -> None:
    """With CAP_BPF and CAP_PERFMON alone everything attaches and gives rows."""
    assert under("-all,+bpf,+perfmon", MISSING) == ""
    assert "0" in under("-all,+bpf,+perfmon", ATTACH)


@pytest.mark.parametrize(
    ("held", "lacking"),
    [
        ("-all", "CAP_BPF and CAP_PERFMON are missing"),
        ("-all,+bpf", "CAP_PERFMON is missing"),
        ("-all,+perfmon,+net_admin", "CAP_BPF is missing"),
    ],
)
def test_a_missing_capability_is_named(held: str, lacking: str) -> None:
    """Both beforehand and when one tries: which it is, and how to run with it."""
    hint = "(root: run as root, or as UID 0 with only CAP_BPF and CAP_PERFMON)"
    assert under(held, MISSING) == f"{lacking} {hint}"
    assert under(held, ATTACH).endswith(f"process.bpf.o cannot be loaded: {lacking} {hint}")


def test_a_nested_user_namespace_is_named() -> None:
    """Its capabilities do not count, and it says so."""
    said = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", MISSING], capture_output=True, text=True
    )
    assert "nested user namespace" in said.stdout


@pytest.mark.parametrize(
    ("soname", "said"),
    [
        ("libbpf.so.99", "libbpf.so.99 is not on this machine: install libbpf 1.x"),
        ("libc.so.6", "this libc.so.6 lacks a function"),
    ],
)
def test_a_missing_or_old_libbpf_is_named(soname: str, said: str) -> None:
    """The sentence says which package brings it."""
    code = f"from tapio.kernel import libbpf; libbpf.SONAME = {soname!r}; {MISSING}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said in done.stdout
    assert "apt install libbpf1" in done.stdout


def test_missing_btf_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A kernel without BTF is told from one that has it by the file."""
    monkeypatch.setattr(vmlinux, "PATH", tmp_path / "vmlinux")
    assert "has no BTF" in "; ".join(capability.missing())
    assert "CONFIG_DEBUG_INFO_BTF=y" in "; ".join(capability.missing())
