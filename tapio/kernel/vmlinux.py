"""What the running kernel's own BTF says: whether a hook exists and what it is given."""

from __future__ import annotations

import ctypes as c
from functools import cache
from pathlib import Path

from tapio.kernel.libbpf import library, pointer
from tapio.model.errors import KernelError

PATH = Path("/sys/kernel/btf/vmlinux")
_TYPEDEF, _FUNC = 8, 12


@cache
def _btf() -> int:
    """The kernel's BTF, read once in 12 ms."""
    sentence = f"this kernel has no BTF at {PATH}; boot one built with CONFIG_DEBUG_INFO_BTF=y"
    return pointer(library().btf__load_vmlinux_btf(), sentence)


def arguments(tracepoint: str) -> int:
    """How many arguments a ``tp_btf`` program at ``tracepoint`` gets; -1 if there is none such."""
    lib = library()
    id = lib.btf__find_by_name_kind(_btf(), f"btf_trace_{tracepoint}".encode(), _TYPEDEF)
    for _ in range(2):  # typedef → pointer → function
        if id <= 0:
            return -1
        id = _word(id, 2)
    return (_word(id, 1) & 0xFFFF) - 1 if id > 0 else -1  # the first is the hook's own data


def _word(id: int, index: int) -> int:
    """One of the three u32 that each BTF type begins with: name, info, size or type."""
    type = pointer(library().btf__type_by_id(_btf(), id), f"the kernel's BTF has no type {id}")
    return int(c.cast(type, c.POINTER(c.c_uint32))[index])


def check_hook(program: str, section: str) -> None:
    """KernelError if ``section`` names a tracepoint or function that this kernel lacks."""
    kind, _, target = section.lstrip("?").partition("/")
    if kind == "tp_btf" and arguments(target) < 0:
        raise KernelError(
            f"this kernel has no tracepoint {target!r}, which {program} needs: "
            "switch that observer off, or run a kernel that has it"
        )
    if kind in ("fentry", "fexit", "fmod_ret") and not _has_function(target):
        raise KernelError(
            f"this kernel has no function {target!r}, which {program} needs: "
            "switch that program off, or name another function"
        )


def _has_function(name: str) -> bool:
    return int(library().btf__find_by_name_kind(_btf(), name.encode(), _FUNC)) > 0
