"""Serves a component that exports wasi:http/incoming-handler: one thread, one epoll, many guests.

A guest runs until it has answered or has to wait, and is then suspended (guest_call.py): a worker's guests
share its CPU as coroutines do. Each other CPU has its own worker (workers.py). In each round, the server reads,
runs and answers everything that has arrived before it asks the kernel again.
"""

from __future__ import annotations

import os
import select
import socket
import time
from functools import partial

from runwasi.wasi.component.instance_pool import GUESTS
from runwasi.wasi.http.body import HIGH_WATER
from runwasi.wasi.http.connection import HttpConnection
from runwasi.wasi.http.guest_call import GuestCall
from runwasi.wasi.http.response_counts import FAILED
from runwasi.wasi.http.waits import Waits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runwasi.wasi.http.exchange import Exchange
    from runwasi.wasi.http.guest_call import Handler
    from runwasi.wasi.http.response_counts import Counts
    from runwasi.wasi.http.waits import GuestWait

CLIENT_TIMEOUT = 75.0
"""Seconds that a client may take: for a complete request head, between requests, to read more of a response."""

ACCEPTS = 4
"""The most connections accepted per round."""

TURN = 16
"""The most requests of one client that are answered before others get their turn."""

_GONE = select.EPOLLHUP | select.EPOLLERR


class HttpServer:
    """A worker: accepts from a listener that all workers share, until told to drain."""

    def __init__(
        self, listener: socket.socket, handler: Handler, counts: Counts, *, access_log: bool = False
    ) -> None:
        self._listener = listener
        self._counts = counts
        self._handler = handler
        self._access_log = access_log
        self._draining = False
        self._epoll = select.epoll()
        self._actions: dict[int, Callable[[], None]] = {}
        self._clients: dict[int, HttpConnection] = {}
        self._closed: list[HttpConnection] = []  # in this round; an event of theirs may still follow
        self._waits = Waits(self._epoll)
        self._waiting: dict[GuestCall, GuestWait] = {}  # the suspended guests
        self._soon: dict[HttpConnection, None] = {}
        self._queue: dict[HttpConnection, None] = {}  # clients with requests, but no room for another guest
        self._expiring: dict[
            GuestCall, tuple[float, HttpConnection]
        ] = {}  # when their time is over, soonest first
        self._now = time.monotonic()
        self._next_check = 0.0  # when to check again for clients that take too long

    def run(self) -> None:
        """Serve until drained."""
        self._add(self._listener.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE, self._accept)
        while not self._drained():
            ready = self._epoll.poll(self._timeout())
            self._now = time.monotonic()
            for fd, events in ready:
                client = self._clients.get(fd)
                if client is not None:
                    self._serve(client, events)
                elif fd in self._actions:
                    self._actions[fd]()
                else:
                    self._waits.handle(fd)
            self._waits.fire(self._now)
            self._admit()
            self._expire()
            self._close_dropped()

    def drain_on(self, fd: int) -> None:
        """Begin to drain when this descriptor becomes readable."""
        self._add(fd, select.EPOLLIN, lambda: self._drain(fd))

    def _drain(self, fd: int) -> None:
        """Stop accepting connections, end the idle ones, and let the others finish their requests."""
        self._remove(fd)
        self._draining = True
        self._remove(self._listener.fileno())
        for client in list(self._clients.values()):
            client.http.drain()
            self._advance(client)

    def _drained(self) -> bool:
        return (
            self._draining
            and not self._waiting
            and all(client.http.is_idle() and not client.unsent for client in self._clients.values())
        )

    # --- clients

    def _accept(self) -> None:
        """Accept a few connections, and leave the rest to idle workers."""
        for _ in range(ACCEPTS):
            try:
                sock, _ = self._listener.accept()
            except OSError:  # none is left, or its client has gone, or descriptors have run out for now
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = HttpConnection(sock, self._now)
            self._clients[client.fd] = client
            self._epoll.register(client.fd, client.mask)
            if len(self._clients) == 1:
                self._next_check = self._now + CLIENT_TIMEOUT

    def _serve(self, client: HttpConnection, events: int) -> None:
        """Do whatever a client's socket is ready for."""
        if events & _GONE:
            client.lost = True
        if events & select.EPOLLOUT:
            self._send(client, ())
        if events & select.EPOLLIN:
            client.receive()
        self._advance(client)

    def _advance(self, client: HttpConnection) -> None:
        """Do whatever has become possible: resume the guest, send the response, begin the next request, end."""
        if self._clients.get(client.fd) is not client:
            return
        http, call = client.http, client.call
        if call is not None and call.suspended and not client.lost:
            self._resume(client, call)
        sent = self._send(client, self._answers(client))
        if client.lost:
            self._close(client)
            return
        call = client.call
        if sent and call is not None and call.suspended and call.ready():
            self._soon[client] = None  # sending made the room that its guest waits for
        elif http.has_next() and client not in self._queue and client.unsent <= HIGH_WATER:
            self._soon[client] = None  # its turn is over
        if http.is_over():
            client.end()
        if (mask := client.wanted()) != client.mask:
            client.mask = mask
            self._epoll.modify(client.fd, mask)

    def _answers(self, client: HttpConnection) -> list[bytes]:
        """Run guests for a client's requests, and return the bytes that can be sent now."""
        http = client.http
        out: list[bytes] = []
        for _ in range(TURN):
            if client.lost or (http.current is None and not self._begin(client)):
                break
            out += http.output()
            answered = http.settle()
            if answered is not None:
                client.call = None
                client.since = self._now
                self._counts[min(answered.status // 100, 5)] += 1
                self._log(answered)
            if http.current is not None:
                break
        return out

    def _send(self, client: HttpConnection, chunks: Sequence[bytes]) -> bool:
        sent = client.send(chunks)
        if sent:
            client.since = self._now
        return sent

    def _close(self, client: HttpConnection) -> None:
        """Drop a client, and end its guest."""
        client.http.close()
        if client.call is not None and client.call.suspended:
            client.call.cancel()
            self._settle(client, client.call)
        self._epoll.unregister(client.fd)
        del self._clients[client.fd]
        self._queue.pop(client, None)
        self._soon.pop(client, None)
        self._closed.append(client)

    def _close_dropped(self) -> None:
        """Close the connections dropped in this round: closed any earlier, their numbers could have been reused."""
        for client in self._closed:
            client.close()
        self._closed.clear()
        self._waits.close_stopped()

    # --- guests

    def _begin(self, client: HttpConnection) -> bool:
        """Begin a client's next request; return whether there was one, and room for its guest."""
        if not client.http.has_next() or client.unsent > HIGH_WATER:
            return False
        if len(self._waiting) >= GUESTS:
            self._queue[client] = None
            return False
        exchange = client.http.next()
        if not exchange.done:
            client.call = call = GuestCall(self._handler, exchange)
            if call.suspended and self._handler.limits.timeout is not None:
                self._expiring[call] = (self._now + self._handler.limits.timeout, client)
            self._settle(client, call)
        return True

    def _wake(self, client: HttpConnection, call: GuestCall) -> None:
        """Note that something that a guest waits for may be ready."""
        if client.call is call:
            self._advance(client)
        else:  # its response is complete, and it is still running
            self._resume(client, call)

    def _resume(self, client: HttpConnection, call: GuestCall) -> None:
        """Resume a guest if something that it waits for is ready."""
        if call.ready():
            call.resume()
        self._settle(
            client, call
        )  # it may wait for something else now: for a connection, once a name is resolved

    def _settle(self, client: HttpConnection, call: GuestCall) -> None:
        """Note whether a guest is suspended or has ended."""
        wait = self._waiting.pop(call, None)
        if wait is not None:
            self._waits.stop(wait)
        if call.suspended:
            wake = partial(self._wake, client, call)
            try:
                self._waiting[call] = self._waits.start(call.guest.suspension, wake)
            except OSError as error:  # its guest, or another, has opened all that the process may
                call.give_up(f"cannot wait for a descriptor: {error.strerror}")
            else:
                return
        self._expiring.pop(call, None)
        if call.trouble:
            self._report(call)

    def _admit(self) -> None:
        """Advance the clients that need no event: their turn has come, or a guest has ended."""
        soon, self._soon = self._soon, {}
        for client in soon:
            self._advance(client)
        while self._queue and len(self._waiting) < GUESTS:
            client = next(iter(self._queue))
            del self._queue[client]
            self._advance(client)

    # --- time

    def _expire(self) -> None:
        """End guests whose time is over, and drop clients that take too long."""
        while self._expiring:
            call, (moment, client) = next(iter(self._expiring.items()))
            if moment > self._now:
                break
            call.time_out()
            self._settle(client, call)
            self._advance(client)
        if self._clients and self._next_check <= self._now:
            self._next_check = self._now + CLIENT_TIMEOUT
            for client in [each for each in self._clients.values() if each.awaits_client()]:
                if client.since + CLIENT_TIMEOUT <= self._now:
                    self._close(client)
                else:
                    self._next_check = min(self._next_check, client.since + CLIENT_TIMEOUT)

    def _timeout(self) -> float | None:
        """Return the seconds until the next deadline, None if there is none."""
        if self._soon:
            return 0.0
        moments = [next(iter(self._expiring.values()))[0]] if self._expiring else []
        if self._clients:
            moments.append(self._next_check)
        if (moment := self._waits.next_moment()) is not None:
            moments.append(moment)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    # --- logs

    def _report(self, call: GuestCall) -> None:
        """Count a failed request, and report it on stderr."""
        self._counts[FAILED] += 1
        os.write(2, f"runwasi: request {call.exchange.request_id()}: {call.trouble}\n".encode())

    def _log(self, exchange: Exchange) -> None:
        """Write a line to the access log, if it is enabled."""
        if self._access_log:
            case, other = exchange.head.method
            line = (
                f"{exchange.request_id()} {other or case.upper()} {exchange.head.target} {exchange.status}\n"
            )
            os.write(2, line.encode())

    # --- epoll

    def _add(self, fd: int, events: int, action: Callable[[], None]) -> None:
        self._epoll.register(fd, events)
        self._actions[fd] = action

    def _remove(self, fd: int) -> None:
        del self._actions[fd]
        self._epoll.unregister(fd)
