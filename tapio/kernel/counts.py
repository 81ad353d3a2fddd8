"""An observer's two small maps: its configuration, and the counters of rule 7.

    fired     = filtered + sampled_out + limited + attempted
    attempted = committed + lost
    committed = taken + malformed + in_ring

The first two lines are counted by the programs, per CPU and atomically; the third closes the
account with what the reader took. Exact while no program runs, that is detached or idle.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapio.codec.btf import Btf
from tapio.kernel.libbpf import check, library
from tapio.kernel.object import Object

CONFIG_VERSION = 1
"""TAPIO_CONFIG_VERSION of bpf/include/tapio.h: programs with another stay inert."""

ACCOUNTS = ("fired", "filtered", "sampled_out", "limited", "attempted", "committed", "lost")


class Counts:
    """The map ``tapio_counts`` of a loaded object."""

    def __init__(self, object: Object, btf: Btf) -> None:
        """Its layout comes from the object's BTF. Raises KernelError, DecodeError."""
        self._fd = object.fd("tapio_counts")
        dtype = btf.dtype("tapio_counts")
        cpus = check(library().libbpf_num_possible_cpus(), "cannot count the CPUs")
        self._values = np.zeros(cpus, dtype)

    def read(self, topic: int) -> dict[str, int]:
        """The accounts of the topic numbered ``topic``, summed over all CPUs."""
        key = c.c_uint32(topic)
        address = self._values.__array_interface__["data"][0]
        check(
            library().bpf_map_lookup_elem(self._fd, c.byref(key), address),
            "cannot read tapio_counts",
        )
        return {account: int(self._values[account].sum()) for account in ACCOUNTS}


def configure(object: Object, btf: Btf, values: Mapping[str, int]) -> None:
    """Store ``struct tapio_config``: what ``values`` does not name is zero.

    Raises KernelError, DecodeError.
    """
    config: Any = np.zeros(1, btf.dtype("tapio_config"))
    config["version"] = CONFIG_VERSION
    for name, value in values.items():
        config[name] = value
    key = c.c_uint32(0)
    address = config.__array_interface__["data"][0]
    done = library().bpf_map_update_elem(object.fd("tapio_config"), c.byref(key), address, 0)
    check(done, "cannot store tapio_config")
