"""The server's one loop: descriptors, timers and deferred calls on one epoll, no wake-up without a reason.

Everything a shim waits for is a descriptor: connections, a pidfd per process, FIFOs, creations. Callbacks
must not block; they run one after another, so that no state needs a lock and a fork finds no thread.
"""

from __future__ import annotations

import os
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Callback = Callable[[], None]
    Ready = Callable[[int], None]

READABLE = EPOLLIN
WRITABLE = EPOLLOUT
BROKEN = EPOLLERR | EPOLLHUP  # always reported, asked for or not


class Timer:
    """A call that is due later; cancel() takes it back."""

    __slots__ = ("callback", "deadline")

    def __init__(self, deadline: float, callback: Callback | None) -> None:
        self.deadline = deadline
        self.callback = callback

    def __lt__(self, other: Timer) -> bool:
        return self.deadline < other.deadline

    def cancel(self) -> None:
        """Make the timer do nothing; harmless when it has run."""
        self.callback = None


class Reactor:
    """An epoll loop. on_error is called with what a callback raised, and the loop goes on."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._epoll = epoll()
        self._on_error = on_error
        self._handlers: dict[int, Ready] = {}
        self._dropped: set[int] = set()
        self._timers: list[Timer] = []
        self._soon: list[Callback] = []
        self._each_turn: Callback | None = None
        self._running = False

    def watch(self, fd: int, handler: Ready, events: int = READABLE) -> None:
        """Call handler(events) whenever fd is ready for one of events, or broken."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Watch fd for other events; with none only its breaking is reported."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Stop watching fd, to be called before it is closed: a child may still hold its open file."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._dropped.add(fd)

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        """Call once, seconds from now on the monotonic clock."""
        timer = Timer(monotonic() + seconds, callback)
        self._timers.append(timer)
        self._timers.sort()  # there are few; heapq would have to be imported
        return timer

    def call_soon(self, callback: Callback) -> None:
        """Call once, when the callbacks of this turn are through."""
        self._soon.append(callback)

    def call_each_turn(self, callback: Callback | None) -> None:
        """Call at the end of every turn from this one on; None to stop that."""
        self._each_turn = callback

    def run(self) -> None:
        """Serve until stop() is called."""
        self._running = True
        while self._running:
            self.turn()

    def stop(self) -> None:
        """End run() after the current turn."""
        self._running = False

    def turn(self) -> None:
        """Wait for whatever comes first, and serve all that is due then."""
        events = self._epoll.poll(self._timeout())
        self._dropped.clear()
        for fd, ready in events:
            # A descriptor dropped in this turn may have been opened and watched anew: not this event's
            # business.
            if fd not in self._dropped and fd in self._handlers:
                self._guarded(self._handlers[fd], ready)
        self._run_timers()
        soon, self._soon = self._soon, []
        for callback in soon:
            self._guarded(callback)
        if self._each_turn is not None:
            self._guarded(self._each_turn)

    def close(self) -> None:
        """Give the epoll descriptor back; watched descriptors stay their owners'."""
        self._epoll.close()

    def _timeout(self) -> float:
        if self._soon:
            return 0
        while self._timers and self._timers[0].callback is None:
            self._timers.pop(0)
        return max(self._timers[0].deadline - monotonic(), 0) if self._timers else -1

    def _run_timers(self) -> None:
        now = monotonic()
        while self._timers and self._timers[0].deadline <= now:
            callback = self._timers.pop(0).callback
            if callback is not None:
                self._guarded(callback)

    def _guarded(self, callback: Callable[..., None], *args: int) -> None:
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001  a pod's fault must not end the server
            self._on_error(error)


def read_available(fd: int, size: int) -> bytes | None:
    """Read from a non-blocking descriptor: None when nothing is there, b"" at the end. Raises OSError."""
    try:
        return os.read(fd, size)
    except BlockingIOError:
        return None


def write_available(fd: int, data: bytes | bytearray | memoryview) -> int:
    """Write what a non-blocking descriptor takes, and return how much that was. Raises OSError."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0
