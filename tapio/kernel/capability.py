"""What this process lacks to use eBPF: cheap, unprivileged, one sentence each."""

from __future__ import annotations

import os
from pathlib import Path

from tapio.kernel import libbpf, vmlinux
from tapio.model.errors import KernelError

SYS_ADMIN, PERFMON, BPF = 21, 38, 39
_WHOLE = "0 0 4294967295"  # uid_map of the initial user namespace
_LOCKDOWN = Path("/sys/kernel/security/lockdown")


def missing() -> list[str]:
    """What eBPF observers need and this process has not; empty if they can be tried.

    Each is a clause that says what to do. Takes under 1 ms and changes nothing.
    """
    found = [_library(), _btf(), _capabilities(), _namespace(), _locked()]
    return [clause for clause in found if clause]


def _library() -> str:
    try:
        libbpf.library()
    except KernelError as error:
        return str(error)
    return ""


def _btf() -> str:
    if vmlinux.PATH.exists():
        return ""
    return f"this kernel has no BTF at {vmlinux.PATH} (boot one built with CONFIG_DEBUG_INFO_BTF=y)"


def effective() -> int:
    """The effective capabilities of this process, one a bit."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _capabilities() -> str:
    held = effective()
    if held >> SYS_ADMIN & 1:
        return ""
    lacking = [n for n, bit in (("CAP_BPF", BPF), ("CAP_PERFMON", PERFMON)) if not held >> bit & 1]
    if not lacking:
        return ""
    user = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"
    return (
        f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing ({user}: "
        "run as root, or as UID 0 with only CAP_BPF and CAP_PERFMON)"
    )


def _namespace() -> str:
    """Capabilities of a nested user namespace do not count for bpf(2)."""
    try:
        mapped = " ".join(Path("/proc/self/uid_map").read_text().split())
    except OSError:
        return ""
    if mapped == _WHOLE:
        return ""
    return "this is a nested user namespace (run in the host's: bpf(2) takes no capability of it)"


def _locked() -> str:
    try:
        confidential = "[confidentiality]" in _LOCKDOWN.read_text()
    except OSError:
        return ""
    return (
        "the kernel is locked down to confidentiality (boot with lockdown=integrity)" * confidential
    )
