"""Handles the server's signals: SIGCHLD for orphans, and those that ask it to end.

As a subreaper, the server becomes the parent of processes that a container's processes leave behind. The code
that made one of our own children reaps it through its pidfd, in the turn in which it ends. A child that is a
zombie at two looks, a second and so at least one whole turn apart, is an orphan, and is reaped here. One look
is not enough: a turn may be long, and a container that ended in it may still have to be reaped by its owner.
"""

from __future__ import annotations

import os

from runwasi.linux.processes import process_state
from runwasi.linux.signal_pipe import SignalPipe
from runwasi.startup import thin_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from runwasi.shim.server.reactor import Reactor

_GRACE = 1.0  # seconds


class Orphans:
    """Reaps orphans, and calls the handlers of other signals."""

    def __init__(self, reactor: Reactor, handlers: Mapping[int, Callable[[], None]]) -> None:
        self._reactor = reactor
        self._handlers = handlers
        self._due = False
        self._seen: set[int] = set()
        self._pipe = SignalPipe()
        for number in (thin_signal.SIGCHLD, *handlers):
            thin_signal.signal(number, lambda number, _frame: self._pipe.noted(number))
        reactor.watch(self._pipe.fileno(), self._caught)

    def _caught(self, _events: int) -> None:
        for number in self._pipe.take():
            if number == thin_signal.SIGCHLD:
                self.expect()
            elif number in self._handlers:
                self._handlers[number]()

    def raise_again(self, numbers: Container[int]) -> None:
        """Send ourselves those of these signals that have come and are not handled yet. They should be blocked."""
        for number in self._pipe.take():
            if number in numbers:
                os.kill(os.getpid(), number)

    def expect(self) -> None:
        """Look for orphans soon."""
        if not self._due:
            self._due = True
            self._reactor.call_later(_GRACE, self._scan)

    def _scan(self) -> None:
        """Reap children that were zombies at the last look too; look again as long as there are other zombies."""
        self._due = False
        # The list has an entry per container, and usually none of them has just ended.
        zombies = _zombies() if _has_zombie() else set()
        for pid in zombies & self._seen:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
        self._seen = zombies - self._seen
        if self._seen:
            self.expect()


def _has_zombie() -> bool:
    """Return whether there is a zombie among our children."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # no child at all
        return False


def _zombies() -> set[int]:
    """List our children that have ended. Source: man 5 proc, /proc/[pid]/task/[tid]/children."""
    with open(f"/proc/self/task/{os.getpid()}/children", "rb", 0) as file:
        pids = [int(pid) for pid in file.read().split()]
    return {pid for pid in pids if _is_zombie(pid)}


def _is_zombie(pid: int) -> bool:
    try:
        return process_state(pid) == "Z"
    except ProcessLookupError:
        return False
