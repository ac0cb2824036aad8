"""Serves a component that exports wasi:http/incoming-handler: one thread, one epoll, many guests.

A guest runs until it has answered or has to wait, and is then put aside (guest_call.py); so a worker's guests
share its CPU the way coroutines do. The other CPUs have workers of their own (workers.py).
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import socket
import time
from collections import OrderedDict

from runwasi.wasi.component.instance_pool import GUESTS
from runwasi.wasi.http.connection import Connection
from runwasi.wasi.http.guest_call import Call
from runwasi.wasi.io.poll import LONGEST_WAIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.wasi.component.linker import Suspension
    from runwasi.wasi.http.exchange import Exchange
    from runwasi.wasi.http.guest_call import Handler

IDLE_TIMEOUT = 75.0
"""Seconds a connection may be without a complete request head: between requests, and while sending one."""

ACCEPTS = 4
"""Connections taken between two rounds of serving those there are."""


class Server:
    """A worker: accepts from a listener it shares with the others, until told to drain."""

    def __init__(self, listener: socket.socket, handler: Handler, *, access_log: bool = False) -> None:
        self.draining = False
        self._listener = listener
        self._handler = handler
        self._access_log = access_log
        self._epoll = select.epoll()
        self._actions: dict[int, Callable[[int], None]] = {}
        self._connections: set[Connection] = set()
        self._idle: OrderedDict[Connection, float] = OrderedDict()  # the longest idle first
        self._calls: set[Call] = set()
        self._expiring: dict[Call, float] = {}  # when their time is over, the first first
        self._soon: dict[Connection, None] = {}
        self._queue: dict[Connection, None] = {}  # with requests for whose guests there is no room
        self._waiting: dict[Call, list[int]] = {}  # descriptors suspended guests wait for
        self._timers: list[tuple[float, int, Call, Suspension | None]] = []
        self._numbers = itertools.count(1)
        self._request_ids = f"{os.getpid():x}{os.urandom(4).hex()}-"

    def run(self) -> None:
        """Serve until drained."""
        self._add(self._listener.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE, self._accept)
        while not self._drained():
            for fd, events in self._epoll.poll(self._timeout()):
                action = self._actions.get(fd)
                if action is not None:
                    action(events)
            self._fire_timers()
            self._admit()
            self._expire()

    def drain_on(self, fd: int) -> None:
        """Begin to drain when this descriptor becomes readable."""
        self._add(fd, select.EPOLLIN, lambda _events: self._drain(fd))

    def _drain(self, fd: int) -> None:
        """Take no more connections, end the idle ones, let the others finish their requests."""
        self._remove(fd)
        if not self.draining:
            self.draining = True
            self._remove(self._listener.fileno())
            for connection in list(self._connections):
                connection.advance()

    def _drained(self) -> bool:
        return (
            self.draining and not self._calls and all(connection.idle() for connection in self._connections)
        )

    # --- connections

    def _accept(self, _events: int) -> None:
        """Take a few connections; the others are for workers that have nothing to do."""
        for _ in range(ACCEPTS):
            try:
                sock, _ = self._listener.accept()
            except OSError:  # none is left, or its client is gone again, or descriptors are short for now
                return
            self._welcome(sock)

    def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self, sock)
        self._connections.add(connection)
        self._add(connection.fd, select.EPOLLIN, connection.handle)
        self.idle(connection)

    def watch(self, connection: Connection, mask: int) -> None:
        """Change what a connection waits for."""
        self._epoll.modify(connection.fd, mask)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that closes."""
        self._remove(connection.fd)
        self._connections.discard(connection)
        self._idle.pop(connection, None)
        self._queue.pop(connection, None)
        self._soon.pop(connection, None)

    def idle(self, connection: Connection) -> None:
        """Note that a connection waits for its client; it may do so for IDLE_TIMEOUT."""
        self._idle[connection] = time.monotonic() + IDLE_TIMEOUT

    def busy(self, connection: Connection) -> None:
        """Note that a connection has a request in work."""
        self._idle.pop(connection, None)

    def _expire(self) -> None:
        """End connections that were idle for too long, and guests whose time is over."""
        if not (self._idle or self._expiring):
            return
        now = time.monotonic()
        while self._idle and next(iter(self._idle.values())) <= now:
            next(iter(self._idle)).close()
        while self._expiring and next(iter(self._expiring.values())) <= now:
            call = next(iter(self._expiring))
            call.time_out()
            call.connection.advance()

    # --- guests

    def begin(self, connection: Connection, exchange: Exchange) -> Call | None:
        """Run a guest for a request; give its call unless it is over already."""
        exchange.request_id = self._request_id(exchange)
        call = Call(self, self._handler, connection, exchange)
        if not call.suspended:
            return None
        self._calls.add(call)
        if self._handler.timeout is not None:
            self._expiring[call] = time.monotonic() + self._handler.timeout
        return call

    def full(self, connection: Connection) -> bool:
        """Say whether there can be no more guests now; the connection is then told when there can."""
        if len(self._calls) < GUESTS:
            return False
        self._queue[connection] = None
        return True

    def soon(self, connection: Connection) -> None:
        """Let a connection go on after the others have had their turn."""
        self._soon[connection] = None

    def _admit(self) -> None:
        """Let connections go on that can without an event: a turn is theirs, or a guest has ended."""
        soon, self._soon = self._soon, {}
        for connection in soon:
            connection.advance()
        while self._queue and len(self._calls) < GUESTS:
            connection = next(iter(self._queue))
            del self._queue[connection]
            connection.advance()

    def _request_id(self, exchange: Exchange) -> str:
        """Give the request's id: the client's own or a new one, which the guest then sees as a field."""
        for name, value in exchange.fields:
            if name == "x-request-id":
                return value[:64].decode("latin-1")
        request_id = f"{self._request_ids}{next(self._numbers):x}"
        exchange.fields.append(("x-request-id", request_id.encode()))
        return request_id

    def suspend(self, call: Call, suspension: Suspension | None) -> None:
        """Wake a guest when what it waits for is ready."""
        if suspension is None:  # not in a host function of ours: poll again at once
            heapq.heappush(self._timers, (0.0, next(self._numbers), call, None))
            return
        fds: dict[int, int] = {}
        for pollable in suspension.pollables:
            fd, wanted, deadline = pollable.sources()
            if fd >= 0:
                fds[fd] = fds.get(fd, 0) | wanted
            if deadline is not None:
                heapq.heappush(self._timers, (deadline, next(self._numbers), call, suspension))
        if len(self._timers) > 64 + 4 * len(self._calls):  # mostly of waits that are over
            self._timers = [timer for timer in self._timers if timer[2].guest.suspension is timer[3]]
            heapq.heapify(self._timers)
        for fd, events in fds.items():
            copy = os.dup(fd)  # as another guest may wait for the same
            try:
                self._add(copy, events, lambda _events: self._wake(call))
            except PermissionError:  # a regular file, which is always ready
                os.close(copy)
                heapq.heappush(self._timers, (0.0, next(self._numbers), call, suspension))
            else:
                self._waiting.setdefault(call, []).append(copy)

    def unwatch(self, call: Call) -> None:
        """Stop waiting for a guest's descriptors: it goes on or ends."""
        for copy in self._waiting.pop(call, ()):
            self._remove(copy)
            os.close(copy)

    def ended(self, call: Call) -> None:
        """Forget a guest that is no more."""
        self._calls.discard(call)
        self._expiring.pop(call, None)

    def _wake(self, call: Call) -> None:
        if call.suspended:
            call.wake()
            call.connection.advance()

    def _fire_timers(self) -> None:
        if self._timers:
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                _, _, call, suspension = heapq.heappop(self._timers)
                if call.guest.suspension is suspension:
                    self._wake(call)

    # --- logs

    def report(self, exchange: Exchange, what: str) -> None:
        """Say on stderr what went wrong with a request."""
        os.write(2, f"runwasi: request {exchange.request_id}: {what}\n".encode())

    def log(self, exchange: Exchange) -> None:
        """Write a line of the access log, if there is one."""
        if self._access_log:
            method = exchange.method[1] or exchange.method[0].upper()
            os.write(2, f"{exchange.request_id} {method} {exchange.target} {exchange.status}\n".encode())

    # --- epoll

    def _timeout(self) -> float | None:
        if self._soon:
            return 0.0
        deadlines = [next(iter(each.values())) for each in (self._idle, self._expiring) if each]
        if self._timers:
            deadlines.append(min(self._timers[0][0], time.monotonic() + LONGEST_WAIT))
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _add(self, fd: int, events: int, action: Callable[[int], None]) -> None:
        self._epoll.register(fd, events)
        self._actions[fd] = action

    def _remove(self, fd: int) -> None:
        if self._actions.pop(fd, None) is not None:
            self._epoll.unregister(fd)
