"""Runs the server's one loop: descriptors, timers, deferred calls and operations; no wake-up without a reason.

Nothing blocks here: one server serves many containers, and any of them may be hostile. Callbacks run one after
another, so that no state needs a lock and a fork finds no thread, and each returns at once:

- Work in several steps is an operation (runwasi.linux.waiting). follow() resumes it when a descriptor that it
  waits for is ready, and can cancel it; its caller gives it a deadline.
- Work that may hang in the kernel, because of a foreign file, mount, socket or bus, is done by a separate
  process that the operation waits for (runwasi.executor.parent.errands). It dies with the operation, and with
  the server.
- A callback itself only does bounded work: memory, a non-blocking descriptor, procfs, cgroups, our state files.
"""

from __future__ import annotations

import os
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll
from time import monotonic

from runwasi.linux.waiting import TURN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from runwasi.linux.waiting import Operation, Wait

    T = TypeVar("T")
    Callback = Callable[[], None]
    Ready = Callable[[int], None]

READABLE = EPOLLIN
WRITABLE = EPOLLOUT
BROKEN = EPOLLERR | EPOLLHUP  # always reported, asked for or not

_MANY = 64
_FAILURES = 8


class Timer:
    """A call that is due later; cancel() revokes it."""

    __slots__ = ("callback", "deadline")

    def __init__(self, deadline: float, callback: Callback | None) -> None:
        self.deadline = deadline
        self.callback = callback

    def __lt__(self, other: Timer) -> bool:
        return self.deadline < other.deadline

    def cancel(self) -> None:
        """Revoke the call, unless it has been made."""
        self.callback = None


class Reactor:
    """An epoll loop. It passes a callback's exception to on_error, and goes on."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._epoll = epoll()
        self._on_error = on_error
        self._handlers: dict[int, Ready] = {}
        self._dropped: set[int] = set()
        self._timers: list[Timer] = []
        self._many_timers = _MANY
        self._soon: list[Callback] = []
        self._each_turn: Callback | None = None
        self.operations = 0
        """The number of running operations."""
        self._running = False
        self._failures = 0

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
            self._dropped.add(fd)
            try:
                self._epoll.unregister(fd)
            except OSError:
                pass  # it is not registered; whoever gives something up must be able to

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        """Call once, seconds from now on the monotonic clock."""
        timer = Timer(monotonic() + seconds, callback)
        if (
            len(self._timers) >= self._many_timers
        ):  # most of them may have been cancelled long before they are due
            self._timers = [other for other in self._timers if other.callback is not None]
            self._many_timers = max(_MANY, 2 * len(self._timers))
        self._timers.append(timer)
        self._timers.sort()  # there are few; heapq would have to be imported
        return timer

    def call_soon(self, callback: Callback) -> None:
        """Call once, after the callbacks of this turn."""
        self._soon.append(callback)

    def call_each_turn(self, callback: Callback | None) -> None:
        """Call at the end of every turn, starting with this one; None stops that."""
        self._each_turn = callback

    def follow(
        self, operation: Operation[T], done: Callable[[T | None, Exception | None], None]
    ) -> Following:
        """Run an operation, its first step now; done gets its result or its error."""
        following = Following(self, operation, done)
        following.begin()
        return following

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
        events = self._wait()
        self._dropped.clear()
        for fd, ready in events:
            # A descriptor dropped in this turn may have been reused and watched again: this event is not for
            # it.
            if fd not in self._dropped and fd in self._handlers:
                self._guarded(self._handlers[fd], ready)
        self._run_timers()
        soon, self._soon = self._soon, []
        for callback in soon:
            self._guarded(callback)
        if self._each_turn is not None:
            self._guarded(self._each_turn)

    def _wait(self) -> list[tuple[int, int]]:
        """Return the descriptors that are ready. A failure ends this turn only, unless too many come in a row."""
        try:
            events = self._epoll.poll(self._timeout())
        except OSError as error:
            self._failures += 1
            if self._failures > _FAILURES:
                raise
            self._on_error(error)
            return []
        self._failures = 0
        return events

    def close(self) -> None:
        """Close the epoll descriptor; watched descriptors stay their owners'."""
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


class Following:
    """A running operation. Its exceptions go to done."""

    __slots__ = ("_cancelled", "_done", "_limit", "_operation", "_reactor", "_timer", "_wait", "over")

    def __init__(
        self,
        reactor: Reactor,
        operation: Operation[Any],
        done: Callable[[Any, Exception | None], None],
    ) -> None:
        self._reactor = reactor
        self._operation = operation
        self._done = done
        self._wait: Wait | None = None
        self._timer: Timer | None = None
        self._limit: Timer | None = None
        self._cancelled = False
        self.over = False

    def begin(self) -> None:
        """Run the first step."""
        self._reactor.operations += 1
        self._resume(None)

    def cancel(self, error: Exception) -> None:
        """Raise an error in the operation where it waits, so that it undoes its work.

        Does nothing if it is over or cancelled: an undo always runs to its end.
        """
        if not self.over and not self._cancelled:
            self._cancelled = True
            self._stop_waiting()
            self._resume(None, error)

    def limit(self, seconds: float, error: Exception) -> None:
        """Cancel it with an error unless it ends within that many seconds."""
        self._limit = self._reactor.call_later(seconds, lambda: self.cancel(error))

    def _resume(self, ready: tuple[int, ...] | None, error: Exception | None = None) -> None:
        """Resume with the ready descriptors, None at the beginning, or with an error."""
        try:
            if error is not None:
                wait = self._operation.throw(error)
            else:
                wait = next(self._operation) if ready is None else self._operation.send(ready)
        except StopIteration as end:
            self._end(end.value, None)
        except Exception as failure:  # noqa: BLE001  whatever it is, who asked for the operation is told
            self._end(None, failure)
        else:
            self._begin_to_wait(wait)

    def _end(self, result: Any, failure: Exception | None) -> None:
        self.over = True
        self._reactor.operations -= 1
        if self._limit:
            self._limit.cancel()
        self._done(result, failure)

    def _begin_to_wait(self, wait: Wait) -> None:
        self._wait = wait
        try:
            for fd in wait.fds:
                self._reactor.watch(fd, lambda _events, fd=fd: self._ready((fd,)))  # type: ignore[misc]
        except OSError as error:
            self._stop_waiting()
            self._resume(None, error)
            return
        if wait.deadline is not None:
            self._timer = self._reactor.call_later(wait.deadline - monotonic(), self._expired)
        elif not wait.fds:  # let the others have their turn: continue after the next look at the descriptors
            self._reactor.call_soon(lambda: self._reactor.call_soon(self._had_a_turn))

    def _stop_waiting(self) -> None:
        wait, self._wait = self._wait, None
        for fd in wait.fds if wait else ():
            self._reactor.unwatch(fd)
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _ready(self, ready: tuple[int, ...]) -> None:
        self._stop_waiting()
        self._resume(ready)

    def _expired(self) -> None:
        wait = self._wait
        assert wait is not None  # else the timer was cancelled
        self._ready(wait.poll())  # something may have come together with the deadline

    def _had_a_turn(self) -> None:
        if self._wait is TURN:
            self._ready(())


def read_available(fd: int, size: int) -> bytes | None:
    """Read from a non-blocking descriptor: None if nothing is available, b"" at the end. Raises OSError."""
    try:
        return os.read(fd, size)
    except BlockingIOError:
        return None


def write_available(fd: int, data: bytes | bytearray | memoryview) -> int:
    """Write what a non-blocking descriptor accepts; return the number of bytes. Raises OSError."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0
