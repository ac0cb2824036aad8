"""Keeps what the suspended guests of an event loop wait for: descriptors in its epoll, and deadlines."""

from __future__ import annotations

import heapq
import itertools
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.wasi.component.suspension import Suspension

LONGEST_WAIT = 86400.0
"""Seconds; a guest may sleep for centuries, but epoll counts milliseconds in an int."""


class GuestWait:
    """The waits of one guest, until `stop`."""

    __slots__ = ("fds", "over", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.fds: list[int] = []
        self.over = False


class Waits:
    """Everything that guests wait for; the loop asks for `next_moment`, passes events, and calls `fire`."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._by_fd: dict[int, GuestWait] = {}
        self._moments: list[tuple[float, int, GuestWait]] = []
        self._numbers = itertools.count()
        self._waiting = 0
        self._stopped: list[int] = []  # in this round; an event of theirs may still follow

    def start(self, suspension: Suspension | None, wake: Callable[[], None]) -> GuestWait:
        """Call `wake` when something that a guest waits for may be ready; stop the wait and start a new one then.

        Raises OSError if no descriptor is left.
        """
        wait = GuestWait(wake)
        self._waiting += 1
        if suspension is None:  # not in one of our host functions: poll again at once
            self._at(0.0, wait)
            return wait
        events: dict[int, int] = {}
        for each in suspension.waits_for:
            fd, wanted, moment = each.sources()
            if fd is not None:
                events[fd] = events.get(fd, 0) | wanted
            if moment is not None:
                self._at(moment, wait)
        try:
            for fd, wanted in events.items():
                self._watch(fd, wanted, wait)
        except OSError:
            self.stop(wait)
            raise
        return wait

    def stop(self, wait: GuestWait) -> None:
        """Forget what a guest waits for: it resumes or ends."""
        wait.over = True
        self._waiting -= 1
        for fd in wait.fds:
            del self._by_fd[fd]
            self._epoll.unregister(fd)
        self._stopped += wait.fds

    def close_stopped(self) -> None:
        """Close the descriptors of waits that were stopped, at the end of a round."""
        for fd in self._stopped:
            os.close(fd)
        self._stopped.clear()

    def handle(self, fd: int) -> None:
        """Handle an event of a descriptor that is not the loop's own."""
        wait = self._by_fd.get(fd)
        if wait is not None:
            wait.wake()

    def fire(self, now: float) -> None:
        """Wake the guests whose deadline has passed."""
        while self._moments and self._moments[0][0] <= now:
            wait = heapq.heappop(self._moments)[2]
            if not wait.over:
                wait.wake()

    def next_moment(self) -> float | None:
        """Return the next deadline, at most LONGEST_WAIT from now."""
        if not self._moments:
            return None
        return min(self._moments[0][0], time.monotonic() + LONGEST_WAIT)

    def _at(self, moment: float, wait: GuestWait) -> None:
        if len(self._moments) > 64 + 4 * self._waiting:  # most belong to waits that are over
            self._moments = [each for each in self._moments if not each[2].over]
            heapq.heapify(self._moments)
        heapq.heappush(self._moments, (moment, next(self._numbers), wait))

    def _watch(self, fd: int, events: int, wait: GuestWait) -> None:
        copy = os.dup(fd)  # another guest may wait for the same one
        try:
            self._epoll.register(copy, events)
        except PermissionError:  # a regular file is always ready
            os.close(copy)
            self._at(0.0, wait)
        except OSError:
            os.close(copy)
            raise
        else:
            self._by_fd[copy] = wait
            wait.fds.append(copy)
