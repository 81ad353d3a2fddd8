"""What the path of a cgroup says: container, pod, QoS class. Pure.

| driver, runtime | path below the mount |
|---|---|
| systemd, containerd | ``…-pod<UID, - as _>.slice/cri-containerd-<64 hex>.scope`` |
| systemd, CRI-O | same, ``crio-<64 hex>.scope`` (``crio-conmon-…`` is its monitor: pod only) |
| systemd, docker | same, ``docker-<64 hex>.scope`` |
| cgroupfs | ``…/kubepods/burstable/pod<UID>/<64 hex>`` |
| Guaranteed pods | no QoS level: ``kubepods-pod<UID>.slice``, ``kubepods/pod<UID>`` |
| containerd, wrong driver | ``…pod<UID>.slice:cri-containerd:<64 hex>`` in one name |
| no Kubernetes | ``system.slice/docker-<64 hex>.scope``, ``docker/<64 hex>``, ``libpod-…`` |

Prefixes do not matter (kind and nested kubelets add their own), nor what lies below (crun adds
``container``). A static pod's path has the hash of its manifest, 32 hex, in place of the UID.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_CONTAINER = re.compile(r"(?:(?P<runtime>[a-z][a-z-]*)-)?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_POD = re.compile(
    r"(?:.*-)?pod(?:(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})|"
    r"(?P<hash>[0-9a-f]{32}))(?:\.slice)?"
)
_LEVEL = re.compile(r"(?:.*-)?(besteffort|burstable)(?:-pod[0-9a-f_-]+)?(?:\.slice)?")
_ROOT = re.compile(r"(?:.*-)?kubepods(?:[.-].*)?")

RUNTIMES: Mapping[str, str] = {
    "cri-containerd": "containerd",
    "crio": "cri-o",
    "docker": "docker",
    "libpod": "podman",
}
"""Scope prefix → ``container.runtime.name``."""


def attributes(path: str) -> dict[str, str]:
    """The OpenTelemetry resource attributes of the cgroup at ``path`` (below the mount).

    A cgroup of neither container nor pod is known by its path, ``process.linux.cgroup``.
    """
    parts = [part for part in re.split("[/:]", path) if part]
    pods = [i for i, part in enumerate(parts) if _POD.fullmatch(part)]
    if not pods:
        inner = _containers(parts, 0)[-1:]
        return inner[0] if inner else {"process.linux.cgroup": path}
    # Below a pod the outermost container is the one that Kubernetes knows.
    outer = _containers(parts, pods[-1] + 1)[:1]
    return _pod(parts[: pods[-1] + 1]) | (outer[0] if outer else {})


def _pod(parts: list[str]) -> dict[str, str]:
    """From the names down to the pod's own, which is the last."""
    said: dict[str, str] = {}
    match = _POD.fullmatch(parts[-1])
    if match and match["uid"]:
        said["k8s.pod.uid"] = match["uid"].replace("_", "-")
    elif match:
        said["k8s.pod.annotation.kubernetes.io/config.hash"] = match["hash"]
    levels = [level[1] for part in parts if (level := _LEVEL.fullmatch(part))]
    if levels:
        said["k8s.pod.qos_class"] = levels[-1]
    elif any(_ROOT.fullmatch(part) for part in parts):
        said["k8s.pod.qos_class"] = "guaranteed"
    return said


def _containers(parts: list[str], start: int) -> list[dict[str, str]]:
    """The containers of ``parts`` from ``start`` on, outermost first."""
    found = []
    for index, part in enumerate(parts[start:], start):
        match = _CONTAINER.fullmatch(part)
        if match is None or (match["runtime"] or "").endswith("conmon"):
            continue
        said = {"container.id": match["id"]}
        runtime = match["runtime"] or (parts[index - 1] if index else "")
        if runtime in RUNTIMES:
            said["container.runtime.name"] = RUNTIMES[runtime]
        found.append(said)
    return found
