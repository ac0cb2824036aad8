"""wasi:io/poll: the pollables that a guest can wait for, and waiting for them in this thread."""

from __future__ import annotations

import select
import time

from runwasi.wasi.component.interface import Interface, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.component.interface import Waitable, Waiting

poll = Interface("wasi:io/poll")


@poll.resource("pollable")
class Pollable(Resource):
    """Something that becomes ready: a descriptor or a deadline; with neither, it always is."""

    __slots__ = ("_deadline", "_events", "_fd")

    def __init__(self, fd: int | None = None, events: int = 0, deadline: float | None = None) -> None:
        self._fd = fd
        self._events = events
        self._deadline = deadline

    def ready(self) -> bool:
        """Return whether waiting is over."""
        if self._fd is not None:
            one = select.poll()
            one.register(self._fd, self._events)
            return bool(one.poll(0))
        return self._deadline is None or time.monotonic() >= self._deadline

    def sources(self) -> tuple[int | None, int, float | None]:
        """Return what to wait for now: a descriptor, if any, poll(2)'s events, a monotonic deadline."""
        return self._fd, self._events, self._deadline

    def block(self) -> Waiting[None]:
        """Wait until it is ready."""
        while not self.ready():
            yield (self,)


@poll.function("poll")
def poll_list(_guest: Guest, pollables: Sequence[Pollable]) -> Waiting[list[int]]:
    """Wait until at least one is ready; return the indexes of those that are."""
    if not pollables:
        raise ValueError("wasi:io/poll: the list is empty")
    while not (ready := [index for index, pollable in enumerate(pollables) if pollable.ready()]):
        yield pollables
    return ready


LONGEST_WAIT = 86400.0
"""Seconds; a guest may sleep for centuries, but poll(2) counts milliseconds in an int."""


def wait_for_any(pollables: Iterable[Waitable]) -> None:
    """Block this thread until one of them may be ready."""
    events: dict[int, int] = {}
    deadline = time.monotonic() + LONGEST_WAIT
    for pollable in pollables:
        fd, wanted, moment = pollable.sources()
        if fd is not None:
            events[fd] = events.get(fd, 0) | wanted
        if moment is not None:
            deadline = min(deadline, moment)
    waiter = select.poll()
    for fd, wanted in events.items():
        waiter.register(fd, wanted)
    waiter.poll(max(0.0, deadline - time.monotonic()) * 1000)
