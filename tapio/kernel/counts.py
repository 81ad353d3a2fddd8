"""An observer's two small maps: its configuration, and the counters of rule 7.

    fired     = filtered + sampled_out + limited + attempted
    attempted = committed + lost
    committed = taken + malformed + in_ring

The first two lines are counted by the programs, per CPU and atomically; the third closes the
account with what the reader took. Exact while no program runs, that is detached or idle.
"""

from __future__ import annotations

import ctypes as c
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tapio.codec.btf import Btf
from tapio.kernel.libbpf import check, library
from tapio.kernel.object import Object
from tapio.kernel.reader import Topic
from tapio.model.stage import Context

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

CONFIG_VERSION = 1
"""TAPIO_CONFIG_VERSION of bpf/include/tapio.h: programs with another stay inert."""

ACCOUNTS = ("fired", "filtered", "sampled_out", "limited", "attempted", "committed", "lost")


class Counts:
    """The map ``tapio_counts`` of a loaded object; may be read from any thread."""

    def __init__(self, object: Object, btf: Btf) -> None:
        """Its layout comes from the object's BTF. Raises KernelError, DecodeError."""
        self._object = object
        self._fd = object.fd("tapio_counts")
        self._dtype = btf.dtype("tapio_counts")
        self._cpus = check(library().libbpf_num_possible_cpus(), "cannot count the CPUs")

    def __call__(self, topic: int) -> dict[str, int]:
        """The accounts of the topic numbered ``topic``, summed over all CPUs.

        Beside them ``recursion_misses``, which are of the whole object.
        """
        values: Any = np.zeros(self._cpus, self._dtype)
        key = c.c_uint32(topic)
        address = values.__array_interface__["data"][0]
        done = library().bpf_map_lookup_elem(self._fd, c.byref(key), address)
        check(done, "cannot read tapio_counts")
        said = {account: int(values[account].sum()) for account in ACCOUNTS}
        return said | {"recursion_misses": self._object.recursion_misses()}


class Account:
    """Rule 7's account of each topic of an object; what was last read once it is closed.

    Without ``counts``, as for somebody else's object, it has only what the reader took.
    """

    def __init__(
        self, topics: Sequence[Topic], counts: Callable[[int], dict[str, int]] | None
    ) -> None:
        """``counts`` gives the kernel's part for the number of a topic."""
        self._topics = topics
        self._counts = counts
        self._last: dict[str, dict[str, int]] = {}
        self._lock = threading.Lock()  # a map's descriptor may not be closed while it is read

    def read(self) -> dict[str, dict[str, int]]:
        """Topic → account → rows."""
        with self._lock:
            if self._topics:
                self._last = {t.schema.topic: self._of(n, t) for n, t in enumerate(self._topics)}
            return self._last

    def _of(self, number: int, topic: Topic) -> dict[str, int]:
        said = self._counts(number) if self._counts else {}
        said |= {"taken": topic.taken, "malformed": topic.malformed, "replaced": topic.replaced}
        if "committed" in said:
            said["in_ring"] = said["committed"] - topic.taken - topic.malformed
        return said

    def close(self) -> None:
        """Read for the last time."""
        self.read()
        with self._lock:
            self._topics = ()

    def observe(self, cx: Context) -> None:
        """Register ``tapio_kernel_rows`` with the meter, by topic and account."""

        def observations(options: CallbackOptions) -> Iterator[Observation]:
            from opentelemetry.metrics import Observation

            for topic, accounts in self.read().items():
                labels = {"pipeline": cx.pipeline, "source": cx.stage, "topic": topic}
                for account, rows in accounts.items():
                    yield Observation(rows, labels | {"account": account})

        cx.meter.create_observable_gauge(
            "tapio_kernel_rows", [observations], "{row}", "Rows by the kernel's account (rule 7)."
        )


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
