"""Operations: work that waits without standing in anybody's way.

An operation is a generator. It does what can be done at once, yields a Wait where it must wait, and is resumed with
those of the descriptors that are readable, with none when the time is up. What is raised in it meanwhile, an
interrupt or a deadline's error, makes it take back what it has done, for which it may wait again.

finish() carries an operation out on the spot, as a command line does and a process that has nothing else to do. A
server has its reactor follow it, together with all others (runwasi.shim.server.reactor). Between two waits an
operation holds the server up, so it makes no call there that could block.
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
    """Until one of the descriptors is readable or broken, or the deadline on the monotonic clock has come."""

    __slots__ = ("deadline", "fds")

    def __init__(self, fds: Iterable[int] = (), deadline: float | None = None) -> None:
        self.fds = tuple(fds)
        self.deadline = deadline

    def poll(self) -> tuple[int, ...]:
        """Wait here; return the descriptors that are readable or broken."""
        if not self.fds and self.deadline is None:
            os.sched_yield()
            return ()
        poll = select.poll()
        for fd in self.fds:
            poll.register(fd, select.POLLIN)
        left = None if self.deadline is None else max(0.0, self.deadline - monotonic()) * 1000
        return tuple(fd for fd, _ in poll.poll(left))


TURN = Wait()
"""Waits for nothing but everybody else's turn: in a server, all that has been asked until now is served first."""


def finish(operation: Operation[T]) -> T:
    """Carry an operation out to its end, waiting here. Returns what it returns, and raises what it raises."""
    try:
        wait = next(operation)
        while True:
            try:
                ready = wait.poll()
            except BaseException as interruption:  # noqa: BLE001  a signal's handler raised it: the operation's matter
                wait = operation.throw(interruption)
            else:
                wait = operation.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
