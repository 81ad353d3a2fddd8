"""The kernel's wakeups of a ring's reader, as an event of the loop."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

REST_S = 0.002
"""After a wakeup further ones are not listened to for this long."""


@contextmanager
def wakeups(fds: Sequence[int]) -> Iterator[asyncio.Event]:
    """An event that is set whenever the kernel wakes the readers of the ring maps ``fds``.

    The rings sit in an edge-triggered epoll of their own: a loop that watched them directly
    would be called without end while they are not drained.
    """
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    epoll = select.epoll()
    rest: asyncio.TimerHandle | None = None

    def listen() -> None:
        loop.add_reader(epoll.fileno(), woken)

    def woken() -> None:
        nonlocal rest
        epoll.poll(0)
        event.set()
        loop.remove_reader(epoll.fileno())
        rest = loop.call_later(REST_S, listen)

    try:
        for fd in fds:
            epoll.register(fd, select.EPOLLIN | select.EPOLLET)
        listen()
        yield event
    finally:
        if rest is not None:
            rest.cancel()
        loop.remove_reader(epoll.fileno())
        epoll.close()
