"""One compiled object in the kernel: opened, sized, loaded, attached, detached.

    with Object.open(path) as object:
        object.resize("ring_exec", 1 << 20)
        object.load()
        object.attach()
        ...
        object.detach()

Each refusal is a KernelError of one sentence that says what to do.
"""

from __future__ import annotations

import ctypes as c
import errno
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tapio.kernel import capability, vmlinux
from tapio.kernel.libbpf import check, library, logged, reason
from tapio.model.errors import KernelError

SIZE_MAX = 64 << 20
"""The largest object file that is read."""
_RINGBUF = 27  # BPF_MAP_TYPE_RINGBUF


class _OpenOptions(c.Structure):
    """The first two fields of struct bpf_object_open_opts; the others stay what they are."""

    _fields_ = (("sz", c.c_size_t), ("object_name", c.c_char_p))


class Object:
    """A CO-RE object; not in the kernel before ``load``, without effect before ``attach``."""

    def __init__(self, name: str, handle: int) -> None:
        """Take libbpf's handle; use ``open``."""
        self.name = name
        self._handle: int | None = handle
        self._links: list[int] = []

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read and parse the object file. Raises KernelError."""
        lib = library()
        try:
            with path.open("rb") as file:
                data = file.read(SIZE_MAX + 1)
        except OSError as error:
            raise KernelError(f"cannot read the object {path}: {error.strerror}") from error
        if len(data) > SIZE_MAX:
            raise KernelError(f"{path} is larger than {SIZE_MAX} bytes: it is no BPF object")
        sentence = f"{path} is not a BPF object that libbpf takes (clang -target bpf -g makes one)"
        options = _OpenOptions(c.sizeof(_OpenOptions), path.stem.encode())
        with logged() as lines:
            handle = lib.bpf_object__open_mem(data, len(data), c.byref(options))
        if not handle:
            said = reason(c.get_errno())
            raise KernelError(f"{sentence}: {'; '.join([said, *lines[-1:]])}")
        return cls(path.name, handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def btf(self) -> bytes:
        """The object's own BTF; empty where it was compiled without ``-g``."""
        handle = library().bpf_object__btf(self._handle)
        size = c.c_uint32()
        data = library().btf__raw_data(handle, c.byref(size)) if handle else None
        return c.string_at(data, size.value) if data else b""

    def programs(self) -> Iterator[tuple[int, str, str]]:
        """(handle, name, section) of each program."""
        lib, handle = library(), None
        while handle := lib.bpf_object__next_program(self._handle, handle):
            name = lib.bpf_program__name(handle).decode()
            yield handle, name, lib.bpf_program__section_name(handle).decode()

    def maps(self) -> dict[str, int]:
        """Handle of each map by its name."""
        lib, handle, found = library(), None, {}
        while handle := lib.bpf_object__next_map(self._handle, handle):
            found[lib.bpf_map__name(handle).decode()] = handle
        return found

    def autoload(self, name: str, on: bool) -> None:
        """Whether the program ``name`` is loaded with the others."""
        for handle, known, _ in self.programs():
            if known == name:
                check(library().bpf_program__set_autoload(handle, on), f"cannot switch {name}")
                return
        raise KernelError(f"{self.name} has no program {name!r}; is it another project's object?")

    def rings(self) -> list[str]:
        """The names of its ring buffers."""
        kind = library().bpf_map__type
        return [name for name, handle in self.maps().items() if kind(handle) == _RINGBUF]

    def map(self, name: str) -> int:
        """The handle of the map ``name``; KernelError, naming what there is."""
        maps = self.maps()
        if name not in maps:
            known = ", ".join(maps) or "none"
            raise KernelError(f"{self.name} has no map {name!r}; it has {known}")
        return maps[name]

    def resize(self, ring: str, size: int) -> int:
        """Give ``ring`` at least ``size`` bytes, before ``load``; how many it will have.

        That is the next power of two of whole pages.
        """
        handle = self.map(ring)
        sentence = f"ring {ring!r} of {self.name} cannot have {size} bytes"
        check(library().bpf_map__set_max_entries(handle, size), sentence)
        return int(library().bpf_map__max_entries(handle))

    def fd(self, name: str) -> int:
        """The descriptor of the map ``name``, after ``load``."""
        return int(library().bpf_map__fd(self.map(name)))

    def load(self) -> None:
        """Put maps and programs into the kernel; the verifier's last lines are in the error."""
        for _, program, section in self._loaded():
            vmlinux.check_hook(program, section)
        with logged() as lines, _undisturbed():
            failed = library().bpf_object__load(self._handle)
        if failed:
            raise KernelError(self._refusal(-failed, lines))

    def _loaded(self) -> list[tuple[int, str, str]]:
        return [p for p in self.programs() if library().bpf_program__autoload(p[0])]

    def _refusal(self, number: int, lines: list[str]) -> str:
        if number in (errno.EPERM, errno.EACCES) and (missing := capability.missing()):
            return f"{self.name} cannot be loaded: {'; '.join(missing)}"
        said = [line.removeprefix("libbpf: ").strip() for line in lines]
        kept = [line for line in said if line and "RLIMIT_MEMLOCK" not in line][-8:]
        return f"the kernel refuses {self.name} ({reason(number)}): {' | '.join(kept)}"

    def attach(self) -> None:
        """Attach each loaded program; on failure those attached are detached again.

        A ``syscall`` program has no hook: it is there to be run.
        """
        for handle, name, section in self._loaded():
            if section == "syscall":
                continue
            link = library().bpf_program__attach(handle)
            if not link:
                said = reason(c.get_errno())
                self.detach()
                raise KernelError(f"{name} cannot be attached to {section}: {said}")
            self._links.append(link)

    def detach(self) -> None:
        """Detach all; when it returns no program runs any more and no record is half written."""
        links, self._links = self._links, []
        for link in links:
            library().bpf_link__destroy(link)
        if links:
            _synchronize()

    def recursion_misses(self) -> int:
        """Runs that the kernel skipped because the program was already running on that CPU."""
        return sum(_misses(library().bpf_program__fd(p[0])) for p in self._loaded())

    def close(self) -> None:
        """Detach and let go of everything; may be called again."""
        self.detach()
        handle, self._handle = self._handle, None
        if handle is not None:
            library().bpf_object__close(handle)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No signal reaches this thread meanwhile.

    The verifier gives up with EAGAIN when one is pending, libbpf tries five times, and a parent
    of many processes gets a SIGCHLD more often than that.
    """
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def _misses(fd: int) -> int:
    """bpf_prog_info.recursion_misses (Linux 5.12 on), at byte 208 of the struct."""
    info = c.create_string_buffer(232)
    size = c.c_uint32(len(info))
    if library().bpf_obj_get_info_by_fd(fd, info, c.byref(size)) < 0 or size.value < 216:
        return 0
    return int.from_bytes(info.raw[208:216], "little")


def _synchronize() -> None:
    """Wait until every CPU has left the programs: membarrier(MEMBARRIER_CMD_GLOBAL) is that.

    Its number is 324 on x86-64 and 283 on the architectures with the generic table.
    """
    number = 324 if platform.machine() == "x86_64" else 283
    c.CDLL(None).syscall(number, 1, 0, 0)
