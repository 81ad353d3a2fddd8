"""From an opened object to its ``Read``: sized, loaded, mapped, configured, attached."""

from __future__ import annotations

import mmap
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any, NamedTuple

import numpy as np

from tapio.codec.btf import Btf
from tapio.kernel.counts import Counts, configure
from tapio.kernel.object import Object
from tapio.kernel.reader import Made, Reader, Topic
from tapio.kernel.ring import Mapped, Ring, Slabs
from tapio.kernel.wakeups import wakeups
from tapio.model.schema import Schema
from tapio.model.stage import Context, Read


class Wanted(NamedTuple):
    """A topic of an object: the ring and the struct in it, and how its rows become columns."""

    schema: Schema
    ring: str
    dtype: np.dtype[Any]
    make: Callable[[Any], Made]


def ring_bytes(wanted: int) -> int:
    """``wanted`` as a ring can have it: a power of two, one page at least."""
    return max(mmap.PAGESIZE, 1 << (wanted - 1).bit_length())


@asynccontextmanager
async def reading(
    cx: Context,
    object: Object,
    wanted: Sequence[Wanted],
    *,
    size: int,
    config: Mapping[str, int] | None = None,
) -> AsyncIterator[Read]:
    """Attach ``object`` with rings of ``size`` bytes and read ``wanted``; leaving detaches.

    ``config`` is for the project's own objects: it is stored in their ``tapio_config``, and
    their counters are read. Raises KernelError, DecodeError.
    """
    for topic in wanted:
        object.resize(topic.ring, size)
    object.load()
    slabs = Slabs()
    with ExitStack() as stack:
        topics = []
        for schema, ring, dtype, make in wanted:
            memory = Mapped(object.fd(ring), size)
            topics.append(
                Topic(schema, stack.enter_context(Ring(memory, dtype, slabs)), make, size // 4)
            )
        event = stack.enter_context(wakeups([object.fd(w.ring) for w in wanted]))
        counts = None
        if config is not None:
            btf = Btf(object.btf)
            configure(object, btf, {"wakeup_bytes": size // 4, **config})
            counts = Counts(object, btf)
        object.attach()
        stack.callback(object.detach)
        yield Reader(cx, topics, event, object.detach).read
        object.detach()
        _say(cx, topics, counts)


def _say(cx: Context, topics: Sequence[Topic], counts: Counts | None) -> None:
    """Log the account of each topic, by rule 7."""
    for number, topic in enumerate(topics):
        said = counts.read(number) if counts else {}
        said |= {"taken": topic.taken, "malformed": topic.malformed}
        line = " ".join(f"{account}={rows}" for account, rows in said.items())
        cx.logger.info("%s: %s", topic.schema.topic, line)
