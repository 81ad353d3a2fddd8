"""Cgroup paths as the drivers and runtimes write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapio.enrich.cgroup_path import attributes

UID = "0b1f3c6a-2f5e-4d8b-9a7c-1e2d3c4b5a69"
_UID = UID.replace("-", "_")
HASH = "5d41402abc4b2a76b9719d911017c592"
ID, OTHER = "ab" * 32, "cd" * 32
SLICE = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_UID}.slice"

CONTAINERD = {"container.id": ID, "container.runtime.name": "containerd"}
CRIO = {"container.id": ID, "container.runtime.name": "cri-o"}
DOCKER = {"container.id": ID, "container.runtime.name": "docker"}
BARE = {"container.id": ID}
CONFIG_HASH = "k8s.pod.annotation.kubernetes.io/config.hash"


def pod(level: str) -> dict[str, str]:
    """The pod's part."""
    return {"k8s.pod.uid": UID, "k8s.pod.qos_class": level}


PATHS = [
    (f"{SLICE}/cri-containerd-{ID}.scope", pod("burstable") | CONTAINERD),
    (f"{SLICE}/crio-{ID}.scope", pod("burstable") | CRIO),
    (f"{SLICE}/crio-{ID}.scope/container", pod("burstable") | CRIO),
    (f"{SLICE}/crio-conmon-{ID}.scope", pod("burstable")),
    (f"{SLICE}/docker-{ID}.scope", pod("burstable") | DOCKER),
    (SLICE, pod("burstable")),
    (
        f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_UID}.slice",
        pod("besteffort"),
    ),
    (f"/kubepods.slice/kubepods-pod{_UID}.slice/crio-{ID}.scope", pod("guaranteed") | CRIO),
    (f"/kubepods/burstable/pod{UID}/{ID}", pod("burstable") | BARE),
    (f"/kubepods/besteffort/pod{UID}/{ID}", pod("besteffort") | BARE),
    (f"/kubepods/pod{UID}/{ID}", pod("guaranteed") | BARE),
    (f"/kubepods/pod{UID}", pod("guaranteed")),
    (
        f"/kubepods/burstable/pod{HASH}/{ID}",
        {CONFIG_HASH: HASH, "k8s.pod.qos_class": "burstable"} | BARE,
    ),
    (
        f"/system.slice/containerd.service/kubepods-burstable-pod{_UID}.slice:cri-containerd:{ID}",
        pod("burstable") | CONTAINERD,
    ),
    (
        f"/docker/{OTHER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice"
        f"/kubelet-kubepods-burstable-pod{_UID}.slice/cri-containerd-{ID}.scope",
        pod("burstable") | CONTAINERD,
    ),
    (
        f"/docker/{OTHER}/kubelet/kubepods/pod{UID}/{ID}",
        pod("guaranteed") | BARE,
    ),
    (f"{SLICE}/cri-containerd-{ID}.scope/docker/{OTHER}", pod("burstable") | CONTAINERD),
    (f"/docker/{ID}", DOCKER),
    (f"/system.slice/docker-{ID}.scope", DOCKER),
    (f"/machine.slice/libpod-{ID}.scope/container", BARE | {"container.runtime.name": "podman"}),
    (f"/machine.slice/libpod-conmon-{ID}.scope", None),
    ("/system.slice/containerd.service", None),
    ("/system.slice/docker.service", None),
    ("/user.slice/user-1000.slice/session-3.scope", None),
    ("/kubepods.slice", None),
    ("/kubepods.slice/kubepods-burstable.slice", None),
    ("/init.scope", None),
    ("/", None),
    (f"/{ID[:12]}", None),
]


@pytest.mark.parametrize(("path", "expected"), PATHS)
def test_a_path_names_what_it_holds(path: str, expected: dict[str, str] | None) -> None:
    """Systemd and cgroupfs drivers; containerd, CRI-O, docker, podman; nested nodes."""
    assert attributes(path) == (expected or {"process.linux.cgroup": path})


@given(st.text(st.sampled_from("/:-_.abcdef0123456789kubepodsliccri"), max_size=300))
def test_any_path_says_something(path: str) -> None:
    """No path is an error; what is neither container nor pod is known by its path."""
    said = attributes(path)
    assert said
    assert all(isinstance(value, str) for value in said.values())
