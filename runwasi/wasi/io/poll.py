"""wasi:io/poll: the pollables that a guest can wait for, and waiting for them in this thread."""

from __future__ import annotations

import select
import time

from runwasi.wasi.component.interface import GuestFault, Interface, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Protocol

    from runwasi.wasi.component.guest import Guest
    from runwasi.wasi.component.interface import Waitable, Waiting

    class Source(Protocol):
        """An open file, which its owner may close."""

        def fileno(self) -> int:
            """Return its descriptor. Once it is closed, return -1 or raise OSError."""


poll = Interface("wasi:io/poll")


@poll.resource("pollable")
class Pollable(Resource):
    """Something that becomes ready: a descriptor or a deadline; with neither, it always is.

    A guest may drop what owns the descriptor first. The pollable is ready from then on: the number may already be
    another's.
    """

    __slots__ = ("_deadline", "_events", "_source")

    def __init__(
        self, source: int | Source | None = None, events: int = 0, deadline: float | None = None
    ) -> None:
        self._source = source
        self._events = events
        self._deadline = deadline

    def ready(self) -> bool:
        """Return whether waiting is over."""
        if self._source is not None:
            fd = number_of(self._source)
            if fd is None:
                return True
            one = select.poll()
            one.register(fd, self._events)
            return bool(one.poll(0))
        return self._deadline is None or time.monotonic() >= self._deadline

    def sources(self) -> tuple[int | None, int, float | None]:
        """Return what to wait for now: a descriptor, if any, poll(2)'s events, a monotonic deadline."""
        fd = number_of(self._source)
        gone = fd is None and self._source is not None
        return fd, self._events, 0.0 if gone else self._deadline

    def block(self) -> Waiting[None]:
        """Wait until it is ready."""
        while not self.ready():
            yield (self,)


def number_of(source: int | Source | None) -> int | None:
    """Return the descriptor of a source; None for none, or one that is closed."""
    if source is None or isinstance(source, int):
        return source
    try:
        fd = source.fileno()
    except OSError:
        return None
    return fd if fd >= 0 else None


@poll.function("poll")
def poll_list(_guest: Guest, pollables: Sequence[Pollable]) -> Waiting[list[int]]:
    """Wait until at least one is ready; return the indexes of those that are."""
    if not pollables:
        raise GuestFault("wasi:io/poll: the list is empty")
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
