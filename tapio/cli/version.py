"""What ``tapio --version`` says: the versions that a report of a fault should name."""

from __future__ import annotations

import ctypes
import importlib.metadata
import platform


def version() -> str:
    """Tapio, Python, the event loop, libbpf and the kernel, on one line each."""
    return "\n".join(
        (
            f"tapio {importlib.metadata.version('tapio')}",
            f"python {platform.python_version()}",
            f"loop {_loop()}",
            f"libbpf {_libbpf()}",
            f"kernel {platform.release()} {platform.machine()}",
        )
    )


def _loop() -> str:
    try:
        return f"uvloop {importlib.metadata.version('uvloop')}"
    except importlib.metadata.PackageNotFoundError:
        return "asyncio (uvloop is not installed)"


def _libbpf() -> str:
    try:
        library = ctypes.CDLL("libbpf.so.1")
    except OSError:
        return "not installed (package libbpf1 of Debian and Ubuntu)"
    library.libbpf_version_string.restype = ctypes.c_char_p
    return bytes(library.libbpf_version_string()).decode().removeprefix("v")
