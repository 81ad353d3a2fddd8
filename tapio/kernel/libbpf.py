"""libbpf through ctypes: the functions that are used, their types, and its log.

libbpf returns NULL or a negative number and sets errno (version 1.0 on); ``check`` and
``pointer`` turn that into a KernelError whose sentence the caller supplies.
"""

from __future__ import annotations

import ctypes as c
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from tapio.model.errors import KernelError

SONAME = "libbpf.so.1"
INSTALL = "install libbpf 1.x (Debian, Ubuntu: apt install libbpf1; Fedora: dnf install libbpf)"

_p, _i, _u, _s, _z = c.c_void_p, c.c_int, c.c_uint32, c.c_char_p, c.c_size_t

_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "libbpf_version_string": (_s, []),
    "libbpf_strerror": (_i, [_i, c.c_char_p, _z]),
    "libbpf_num_possible_cpus": (_i, []),
    "libbpf_set_print": (_p, [_p]),
    "bpf_object__open_mem": (_p, [_p, _z, _p]),
    "bpf_object__load": (_i, [_p]),
    "bpf_object__close": (None, [_p]),
    "bpf_object__btf": (_p, [_p]),
    "bpf_object__next_program": (_p, [_p, _p]),
    "bpf_object__next_map": (_p, [_p, _p]),
    "bpf_program__name": (_s, [_p]),
    "bpf_program__section_name": (_s, [_p]),
    "bpf_program__autoload": (c.c_bool, [_p]),
    "bpf_program__set_autoload": (_i, [_p, c.c_bool]),
    "bpf_program__fd": (_i, [_p]),
    "bpf_program__attach": (_p, [_p]),
    "bpf_link__destroy": (_i, [_p]),
    "bpf_map__name": (_s, [_p]),
    "bpf_map__fd": (_i, [_p]),
    "bpf_map__type": (_i, [_p]),
    "bpf_map__value_size": (_u, [_p]),
    "bpf_map__max_entries": (_u, [_p]),
    "bpf_map__set_max_entries": (_i, [_p, _u]),
    "bpf_map_lookup_elem": (_i, [_i, _p, _p]),
    "bpf_map_update_elem": (_i, [_i, _p, _p, c.c_uint64]),
    "bpf_obj_get_info_by_fd": (_i, [_i, _p, _p]),
    "bpf_prog_test_run_opts": (_i, [_i, _p]),
    "ring_buffer__new": (_p, [_i, _p, _p, _p]),
    "ring_buffer__consume": (_i, [_p]),
    "ring_buffer__free": (None, [_p]),
    "btf__load_vmlinux_btf": (_p, []),
    "btf__raw_data": (_p, [_p, c.POINTER(_u)]),
    "btf__find_by_name_kind": (_i, [_p, _s, _u]),
    "btf__type_by_id": (_p, [_p, _u]),
    "btf__free": (None, [_p]),
}


@cache
def library() -> c.CDLL:
    """libbpf, loaded once; KernelError where there is none or it is too old."""
    try:
        lib = c.CDLL(SONAME, use_errno=True)
    except OSError:
        raise KernelError(f"{SONAME} is not on this machine: {INSTALL}") from None
    try:
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise KernelError(f"this {SONAME} lacks a function ({error}): {INSTALL}") from None
    lib.libbpf_set_print(c.cast(_PRINT, _p))
    return lib


def version() -> str:
    """The version of libbpf, ``v1.1``; KernelError where there is none."""
    return str(library().libbpf_version_string().decode())


def check(result: int, sentence: str) -> int:
    """``result``, unless it is negative: then KernelError with ``sentence`` and the reason."""
    if result < 0:
        raise KernelError(f"{sentence}: {reason(-result)}")
    return result


def pointer(result: int | None, sentence: str) -> int:
    """``result``, unless it is NULL: then KernelError with ``sentence`` and the reason."""
    if not result:
        raise KernelError(f"{sentence}: {reason(c.get_errno())}")
    return result


def reason(errno: int) -> str:
    """What an errno, or one of libbpf's own numbers (4000 on), says."""
    if errno < 4000:
        return os.strerror(errno)
    text = c.create_string_buffer(128)
    library().libbpf_strerror(errno, text, len(text))
    return text.value.decode(errors="replace")


# Log lines of the calling thread: objects may be loaded on several threads at once.
_log = threading.local()
_LINES_MAX = 4096  # a verifier log can have a million lines; its last ones say what is wrong


@contextmanager
def logged() -> Iterator[list[str]]:
    """Gather what libbpf says on this thread meanwhile (at most the last 4,096 lines)."""
    lines: list[str] = []
    _log.lines = lines
    try:
        yield lines
    finally:
        _log.lines = None


def _print(level: int, text: bytes, arguments: int) -> int:
    lines = getattr(_log, "lines", None)
    if lines is None or level > 1:  # 2 is LIBBPF_DEBUG
        return 0
    lines.extend(_formatted(text, arguments).splitlines())
    del lines[:-_LINES_MAX]
    return 0


_PRINT = c.CFUNCTYPE(_i, _i, _s, _p)(_print)  # must outlive the library


def _formatted(text: bytes, arguments: int) -> str:
    """``text`` with its va_list; that is a pointer on x86-64 only, else the bare text."""
    if platform.machine() != "x86_64":
        return text.decode(errors="replace")
    buffer = c.create_string_buffer(1 << 16)
    c.CDLL(None).vsnprintf(buffer, c.c_size_t(len(buffer)), c.c_char_p(text), c.c_void_p(arguments))
    return buffer.value.decode(errors="replace")
