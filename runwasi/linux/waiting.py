"""Operations: work that waits without blocking a server.

An operation is a generator. It does everything that can be done at once, yields a Wait where it must wait, and is
resumed with the readable descriptors, or with none at the deadline. An exception raised in it meanwhile, such as an
interrupt, makes it undo its work, for which it may wait again.

finish() runs an operation to its end, for a command line or a process with nothing else to do. In a server, the
reactor runs it beside all others (runwasi.shim.server.reactor). Between two waits an operation blocks the server, so
it must not make a call there that could block.
"""

from __future__ import annotations

import os
import select
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from typing import TypeAlias, TypeVar

    T = TypeVar("T")
    Operation: TypeAlias = Generator["Wait", tuple[int, ...], T]


class Wait:
    """Waits until one of the descriptors is readable or broken, or until the deadline on the monotonic clock."""

    __slots__ = ("deadline", "fds")

    def __init__(self, fds: Iterable[int] = (), deadline: float | None = None) -> None:
        self.fds = tuple(fds)
        self.deadline = deadline

    def poll(self) -> tuple[int, ...]:
        """Block; return the descriptors that are readable or broken."""
        if not self.fds and self.deadline is None:
            os.sched_yield()
            return ()
        poll = select.poll()
        for fd in self.fds:
            poll.register(fd, select.POLLIN)
        left = None if self.deadline is None else max(0.0, self.deadline - monotonic()) * 1000
        return tuple(fd for fd, _ in poll.poll(left))


TURN = Wait()
"""Waits only for everybody else's turn: a server first handles all requests until now."""


def finish(operation: Operation[T]) -> T:
    """Run an operation to its end, blocking. Returns its result, and raises its exceptions."""
    try:
        wait = next(operation)
        while True:
            try:
                ready = wait.poll()
            except BaseException as interruption:  # noqa: BLE001  a signal handler raised it: the operation decides
                wait = operation.throw(interruption)
            else:
                wait = operation.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
