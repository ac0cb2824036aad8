"""A client's connection to the server: HTTP/1.1 in by httptools, out by http_exchange."""

from __future__ import annotations

import select
import socket
from collections import deque

import httptools

from runwasi.wasi.http.body import HIGH_WATER
from runwasi.wasi.http.exchange import Exchange
from runwasi.wasi.http.fields import HOP_BY_HOP, HttpError, method_case

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.wasi.http.guest_call import Call
    from runwasi.wasi.http.http_server import Server

READ_SIZE = 65536
MAX_HEAD = 65536
"""Bytes a request's first line and fields may have together."""
MAX_PIPELINED = 16
"""Requests a client may send ahead of the responses before we stop reading."""

_GONE = select.EPOLLHUP | select.EPOLLERR


class Connection:
    """Reads requests, runs one guest at a time for them, and sends what the guests answer."""

    __slots__ = (
        "_closing", "_corked", "_exchange", "_fields", "_head_size", "_in_head", "_incoming", "_input_ended", "_lost",
        "_mask", "_out", "_parser", "_pending", "_server", "_sock", "_target", "backlog", "call", "closed",
        "fd",
    )  # fmt: skip

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server = server
        self._sock = sock
        self.fd = sock.fileno()
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._in_head = True
        self._head_size = 0
        self._incoming: Exchange | None = None  # whose body is arriving
        self._pending: deque[Exchange] = deque()  # complete heads, in the order they came
        self._exchange: Exchange | None = None  # whose guest is running or whose response is going out
        self.call: Call | None = None
        self._out: list[bytes] = []
        self._corked = False
        self.backlog = 0
        self._mask = select.EPOLLIN
        self._input_ended = False  # nothing more will be read, or made sense of
        self._lost = False  # nobody is there any more; the next advance() closes
        self._closing = False  # our side has ended; the client's end is awaited
        self.closed = False

    # --- the event loop's side

    def handle(self, events: int) -> None:
        """Do what the socket is ready for."""
        if events & _GONE:
            self._lost = True
        if events & select.EPOLLOUT and self.backlog:
            self._send()
        if events & select.EPOLLIN and not self._lost:
            self._receive()
        self.advance()

    def advance(self) -> None:
        """Go on with what has become possible: the waiting guest, the next request, the end."""
        if self.closed:
            return
        if self.call is not None and self.call.suspended and not self._lost:
            self.call.wake()
        while not self._lost and (self._exchange is not None or self._pending):
            if self._exchange is None:
                if self._server.full(self):
                    return
                self._begin(self._pending.popleft())
            if not self._finish_response():
                break
        if self._lost:
            self.close()
        elif self.idle() and (self._input_ended or self._server.draining):
            self._end()

    def idle(self) -> bool:
        """Say whether no request is in work."""
        return self._exchange is None and not self._pending and self._incoming is None

    def close(self) -> None:
        """Let go of the client and of a guest that works for it."""
        if self.closed:
            return
        self.closed = True
        for exchange in (self._incoming, self._exchange):
            if exchange is not None and not exchange.body.complete():
                exchange.body.failure = HttpError("connection-terminated")
        if self.call is not None:
            self.call.cancel()
        self._server.forget(self)
        self._sock.close()

    # --- requests in

    def _receive(self) -> None:
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self._lost = True
            return
        if self._closing:
            self._lost = not data
        elif not data:
            self._end_of_input()
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        if self._in_head:
            self._head_size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._input_ended = True  # served as if it had not asked; what follows is another protocol
        except httptools.HttpParserError:
            self._refuse(400)
        if self._in_head and self._head_size > MAX_HEAD:
            self._refuse(431)
        held = self._incoming.body.held if self._incoming is not None else 0
        if self._input_ended or held >= HIGH_WATER or len(self._pending) > MAX_PIPELINED:
            self._watch(self._mask & ~select.EPOLLIN)

    def on_message_begin(self) -> None:
        """Begin a request (httptools)."""
        self._target = b""
        self._fields = []

    def on_url(self, part: bytes) -> None:
        """Take a part of the target (httptools)."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field, or a trailer when it comes after the body began (httptools)."""
        if self._incoming is None:
            self._fields.append((name, value))
        elif (lower := name.lower().decode()) not in HOP_BY_HOP:
            self._incoming.body.trailers.append((lower, value))

    def on_headers_complete(self) -> None:
        """Make a request of what came (httptools). Raises ValueError for what RFC 9112, 3.2 forbids."""
        parser = self._parser
        self._in_head, self._head_size = False, 0
        exchange = Exchange(
            self, method_case(parser.get_method()), self._target.decode("latin-1"), parser.get_http_version()
        )
        exchange.keep_alive = parser.should_keep_alive() and not parser.should_upgrade()
        hosts = 0
        for name_bytes, value in self._fields:
            name = name_bytes.lower().decode()
            if name == "host":
                hosts += 1
                exchange.authority = value.decode("latin-1")
            elif name not in HOP_BY_HOP:
                exchange.fields.append((name, value))
                if name == "expect" and value.lower() == b"100-continue":
                    exchange.expect_continue()
        if hosts > 1 or (hosts == 0 and exchange.version == "1.1"):
            raise ValueError("a request of HTTP/1.1 has one Host")
        if not exchange.target.startswith("/"):
            exchange.target, exchange.authority = _origin_form(exchange.target, exchange.authority)
        self._incoming = exchange
        self._pending.append(exchange)
        self._server.busy(self)

    def on_body(self, data: bytes) -> None:
        """Take a part of the body (httptools); nobody wants it once the response is complete."""
        if self._incoming is not None and not self._incoming.done:
            self._incoming.body.feed(data)

    def on_message_complete(self) -> None:
        """End the request (httptools)."""
        if self._incoming is not None:
            self._incoming.body.ended = True
            self._incoming = None
        self._in_head = True

    def _end_of_input(self) -> None:
        """Hear that the client will send no more; it may still be waiting for what it asked."""
        self._input_ended = True
        self._watch(self._mask & ~select.EPOLLIN)
        self._fail_incoming("connection-terminated")

    def _fail_incoming(self, error: str) -> None:
        if self._incoming is not None:
            self._incoming.body.failure = HttpError(error)
            self._incoming.keep_alive = False
            self._incoming = None

    def _refuse(self, status: int) -> None:
        """Answer what is no request, after the responses still due, and end the connection."""
        if self._input_ended:
            return
        self._input_ended = True
        if self._incoming is not None:
            self._fail_incoming("HTTP-protocol-error")
            return
        refusal = Exchange(self, ("get", None), "/", "1.1")
        refusal.keep_alive = False
        refusal.body.ended = True
        refusal.fail(status)
        self._pending.append(refusal)

    def resume_reading(self) -> None:
        """Read on after a guest has taken what had piled up."""
        if not self._input_ended:
            self._watch(self._mask | select.EPOLLIN)

    # --- guests

    def _begin(self, exchange: Exchange) -> None:
        self._exchange = exchange
        if self._server.draining:
            exchange.keep_alive = False
        if not exchange.done:
            self.call = self._server.begin(self, exchange)
        if len(self._pending) == MAX_PIPELINED:
            self.resume_reading()

    def _finish_response(self) -> bool:
        """Send what the guest has said so far; say whether that was all of it and the next may begin."""
        exchange = self._exchange
        assert exchange is not None
        exchange.push()
        self._uncork()
        if self._lost:
            return False
        if not exchange.done:
            if self.call is not None and self.call.suspended and self.call.ready():
                self._server.soon(self)  # sending made the room the guest waits for
            return False
        if exchange.closes():
            self._end()
            return False
        if not exchange.body.complete():
            exchange.body.take(exchange.body.held)  # the guest does not want it: read over it
            self.resume_reading()
            return False
        self._server.log(exchange)
        self._exchange = self.call = None
        if not self._pending and self._incoming is None:
            self._server.idle(self)
        return True

    # --- responses out

    def write(self, chunks: Sequence[bytes], *, more: bool = False) -> None:
        """Send; what the socket does not take waits in the backlog.

        `more` says that the guest goes on: the kernel may then wait for what follows (MSG_MORE, 200 ms at
        most), so that a short response leaves in one segment whatever its guest flushed in between.
        """
        if self._lost or self.closed:
            return
        self._out += chunks
        if not self.backlog:
            self._send(socket.MSG_MORE if more else 0)
        else:
            self.backlog += sum(map(len, chunks))

    def _send(self, flags: int = 0) -> None:
        data = b"".join(self._out)
        try:
            sent = self._sock.send(data, flags)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lost = True  # closed by advance(), when no guest is in the middle of a call
            return
        self._corked = flags != 0
        self.backlog = len(data) - sent
        self._out = [data[sent:]] if self.backlog else []
        self._watch(self._mask | select.EPOLLOUT if self.backlog else self._mask & ~select.EPOLLOUT)

    def _uncork(self) -> None:
        """Send what the kernel still holds back: the guest waits now. Source: man 7 tcp, TCP_NODELAY."""
        if self._corked and not self._lost:
            self._corked = False
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _end(self) -> None:
        """End our side once everything is sent, and wait for the client to end its own.

        Closing with input unread would make the kernel reset the connection, and the client might lose the
        response. Source: RFC 9112, 9.6.
        """
        if self.backlog or self._closing:
            return
        self._closing = True
        if self._exchange is not None:
            self._server.log(self._exchange)
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._watch(select.EPOLLIN)
        self._server.idle(self)

    def _watch(self, mask: int) -> None:
        if mask != self._mask and not self.closed:
            self._mask = mask
            self._server.watch(self, mask)


def _origin_form(target: str, authority: str | None) -> tuple[str, str | None]:
    """Split "http://host/path" (RFC 9112, 3.2.2); "*" and CONNECT's authority have no path."""
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return target, authority
    host, slash, path = rest.partition("/")
    return slash + path or "/", host
