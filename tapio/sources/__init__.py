"""Where rows come from; the observers are re-exported here."""

from typing import TYPE_CHECKING

from tapio.lazy import lazy

if TYPE_CHECKING:
    from tapio.observers.process import Process
    from tapio.sources.ebpf import Ebpf
    from tapio.sources.procfs import Procfs
    from tapio.sources.replay import Replay
    from tapio.sources.synthetic import Synthetic
else:
    __getattr__ = lazy(
        __name__,
        {
            "Ebpf": ".ebpf",
            "Process": "tapio.observers.process",
            "Procfs": ".procfs",
            "Replay": ".replay",
            "Synthetic": ".synthetic",
        },
    )

__all__ = ["Ebpf", "Process", "Procfs", "Replay", "Synthetic"]
