"""From an opened object to its ``Read``: sized, loaded, mapped, configured, attached."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tapio.codec.btf import Btf
from tapio.kernel.consumer import Consumer, is_needed
from tapio.kernel.counts import Account, Counts, configure
from tapio.kernel.object import Object
from tapio.kernel.reader import Made, Reader, Topic
from tapio.kernel.ring import Mapped, Ring, Slabs
from tapio.kernel.wakeups import wakeups
from tapio.model.schema import Schema
from tapio.model.stage import Context, Read

WAKEUP_SHARE = 4
"""A ring's reader is woken when a quarter of the ring is unread: three are left meanwhile."""


class Wanted(NamedTuple):
    """A topic of an object: the ring and the struct in it, and how its rows become columns."""

    schema: Schema
    ring: str
    dtype: np.dtype[Any]
    make: Callable[[Any], Made]


@asynccontextmanager
async def reading(
    cx: Context,
    object: Object,
    wanted: Sequence[Wanted],
    *,
    size: int,
    config: Mapping[str, int] | None = None,
) -> AsyncIterator[Read]:
    """Attach ``object`` with rings of ``size`` bytes or more, read ``wanted``; leaving detaches.

    ``config`` is for the project's own objects: it is stored in their ``tapio_config``, and
    their counters are read. Raises KernelError, DecodeError.
    """
    for topic in wanted:
        size = object.resize(topic.ring, size)
    object.load()
    with ExitStack() as stack:
        topics = _mapped(object, wanted, size, stack)
        event = stack.enter_context(wakeups([object.fd(w.ring) for w in wanted]))
        btf = Btf(object.btf)
        counts = None
        if config is not None:
            configure(object, btf, {"wakeup_bytes": size // WAKEUP_SHARE, **config})
            counts = Counts(object, btf)
        account = Account(topics, counts)
        account.observe(cx)
        stack.callback(_closed, cx, account)
        object.attach()
        detach = partial(_detach, object, btf, config is not None)
        stack.callback(detach)
        yield Reader(cx, topics, event, detach).read


def _detach(object: Object, btf: Btf, is_ours: bool) -> None:
    """Nothing is submitted any more when it returns; may be called again.

    Our own programs are made inert first: a child of this process that is between fork and
    exec still holds the links, and keeps them attached.
    """
    if is_ours:
        configure(object, btf, {})
    object.detach()


def _mapped(object: Object, wanted: Sequence[Wanted], size: int, stack: ExitStack) -> list[Topic]:
    slabs = Slabs()
    topics = []
    for schema, name, dtype, make in wanted:
        ring = _ring(object.fd(name), size, dtype, slabs)
        stack.enter_context(ring)
        topics.append(Topic(schema, ring, make, size // WAKEUP_SHARE))
    return topics


def _ring(fd: int, size: int, dtype: np.dtype[Any], slabs: Slabs) -> Ring | Consumer:
    if is_needed():
        return Consumer(fd, size, dtype)
    return Ring(Mapped(fd, size), dtype, slabs)


def _closed(cx: Context, account: Account) -> None:
    """Log the account of each topic; nothing runs any more, so rule 7 holds exactly."""
    account.close()
    for topic, accounts in account.read().items():
        said = " ".join(f"{name}={rows}" for name, rows in accounts.items())
        cx.logger.info("%s: %s", topic, said)
