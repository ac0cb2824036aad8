"""The server's side of HTTP/1.1, without the connection: bytes in, exchanges out, bytes out.

    http.receive(data)           # or end_input()
    exchange = http.next()       # a guest answers it
    socket.send(http.output())   # the guest's response as far as it has come
    http.settle()                # once there is no `current`, begin the next

As in h11, there are two state machines. Input is the next head (HEAD), belongs to a request's body (BODY), or is
OVER: it has ended, or is no longer HTTP. The responses follow `_AFTER`.
"""

from __future__ import annotations

from collections import deque

import httptools

from runwasi.wasi.http.body import HIGH_WATER
from runwasi.wasi.http.exchange import Exchange
from runwasi.wasi.http.fields import HOP_BY_HOP, HttpError, method_case
from runwasi.wasi.http.framing import Framing
from runwasi.wasi.http.requests import RequestHead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    Input = Literal["HEAD", "BODY", "OVER"]
    State = Literal["IDLE", "WORKING", "SKIPPING", "OVER"]
    Event = Literal["BEGUN", "ANSWERED", "ANSWERED_LAST", "READ", "NO_MORE"]

MAX_HEAD = 65536
"""The most bytes of a request's first line and fields together, and of what separates the parts of a body."""
MAX_PIPELINED = 16
"""Requests that a client may send ahead of the responses before we stop reading."""

_AFTER: dict[tuple[State, Event], State] = {
    # IDLE: no request is in progress · WORKING: a response is due · SKIPPING: it was sent, and the rest of the
    # request's body is discarded · OVER: nothing more will be sent
    ("IDLE", "BEGUN"): "WORKING",
    ("WORKING", "ANSWERED"): "SKIPPING",
    ("WORKING", "ANSWERED_LAST"): "OVER",
    ("SKIPPING", "READ"): "IDLE",
    ("SKIPPING", "NO_MORE"): "OVER",
    ("IDLE", "NO_MORE"): "OVER",
}


class Http1:
    """One client's requests and their responses, in order.

    `current` is the exchange whose response is due, or None.
    """

    __slots__ = (
        "_draining", "_fields", "_framing", "_incoming", "_input", "_parser", "_target", "_unread", "_waiting",
        "current", "state",
    )  # fmt: skip

    def __init__(self) -> None:
        self.state: State = "IDLE"
        self.current: Exchange | None = None
        self._input: Input = "HEAD"
        self._parser: Any = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._unread = 0  # bytes since the last that belonged to a body or ended a head
        self._incoming: Exchange | None = None  # the one whose body is arriving
        self._waiting: deque[Exchange] = deque()  # complete heads, in the order they came
        self._framing = Framing()
        self._draining = False

    # --- exchanges

    def has_next(self) -> bool:
        """Return whether a request waits for its guest."""
        return self.state == "IDLE" and bool(self._waiting)

    def next(self) -> Exchange:
        """Begin the next request; there must be one."""
        self._go("BEGUN")
        self.current = exchange = self._waiting.popleft()
        exchange.last = exchange.last or self._draining
        self._framing = Framing()
        return exchange

    def output(self) -> list[bytes]:
        """Return the bytes of the current response that can be sent now."""
        exchange = self.current
        return self._framing.take(exchange) if exchange is not None and self.state == "WORKING" else []

    def settle(self) -> Exchange | None:
        """Advance as far as the current response allows; return the exchange if it has just been completed."""
        exchange = self.current
        if exchange is None:
            return None
        answered = self.state == "WORKING" and exchange.done
        if answered:
            self._go("ANSWERED_LAST" if exchange.last or exchange.aborted else "ANSWERED")
        if self.state == "SKIPPING":
            exchange.body.discard()
            if exchange.body.complete():
                self._go("READ")
        if self.state in ("IDLE", "OVER"):
            exchange.close()
            self.current = None
        return exchange if answered else None

    def is_idle(self) -> bool:
        """Return whether no response is due: the client is the one to act."""
        return self.state != "WORKING" and not self._waiting

    def is_over(self) -> bool:
        """Return whether nothing more will be sent: the connection can end once the rest has gone out."""
        no_more = self._draining or (self._input == "OVER" and self.state == "IDLE")
        if no_more and self.state != "OVER" and self.is_idle():
            self._go("NO_MORE")
        return self.state == "OVER"

    def drain(self) -> None:
        """End with the response that is due, or now if none is."""
        self._draining = True
        if self.current is not None:
            self.current.last = True

    def close(self) -> None:
        """Drop the guest and the parser: the client is gone."""
        for exchange in (self._incoming, self.current):
            if exchange is not None:
                if not exchange.body.complete():
                    exchange.body.failure = HttpError("connection-terminated")
                exchange.close()
        self.current = self._incoming = None
        self._parser = None  # it refers to us

    def _go(self, event: Event) -> None:
        self.state = _AFTER[self.state, event]

    # --- input

    def wants_input(self) -> bool:
        """Return whether there is room for more; until then the client has to wait."""
        if self._input == "OVER" or len(self._waiting) > MAX_PIPELINED:
            return False
        return self._incoming is None or self._incoming.body.held < HIGH_WATER

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        if "OVER" in (self._input, self.state):
            return
        self._unread += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._input = "OVER"  # an upgrade is ignored; the bytes after it are another protocol
        except httptools.HttpParserError:
            self._refuse(400)
        if self._unread > MAX_HEAD:
            self._refuse(431)

    def end_input(self) -> None:
        """Note that the client has ended its side; it may still wait for responses."""
        self._input = "OVER"
        self._fail_incoming("connection-terminated")

    def _fail_incoming(self, error: str) -> None:
        if self._incoming is not None:
            self._incoming.body.failure = HttpError(error)
            self._incoming.last = True
            self._incoming = None

    def _refuse(self, status: int) -> None:
        """Answer a malformed request, after the responses still due, and end the connection."""
        if self._input == "OVER":
            return
        self._input = "OVER"
        if self._incoming is not None:
            self._fail_incoming("HTTP-protocol-error")
            return
        refusal = Exchange(RequestHead(keep_alive=False))
        refusal.body.ended = True
        refusal.fail(status)
        self._waiting.append(refusal)

    # --- httptools

    def on_message_begin(self) -> None:
        """Begin a request (httptools)."""
        self._target = b""
        self._fields = []

    def on_url(self, part: bytes) -> None:
        """Take a part of the target (httptools)."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field, or a trailer if the body has begun (httptools)."""
        value = value.rstrip(b" \t")  # RFC 9110, 5.5; httptools leaves blanks behind a value
        if self._incoming is None:
            self._fields.append((name, value))
        elif (lower := name.lower().decode()) not in HOP_BY_HOP:
            self._incoming.body.trailers.append((lower, value))

    def on_headers_complete(self) -> None:
        """Make the request (httptools). Raises ValueError for a head that RFC 9112, 3.2 forbids."""
        self._input, self._unread = "BODY", 0
        self._incoming = exchange = Exchange(self._head())
        self._waiting.append(exchange)

    def _head(self) -> RequestHead:
        parser = self._parser
        version = parser.get_http_version()
        hosts: list[str] = []
        fields: list[tuple[str, bytes]] = []
        expects = False
        for name_bytes, value in self._fields:
            name = name_bytes.lower().decode()
            if name == "host":
                hosts.append(value.decode("latin-1"))
            elif name not in HOP_BY_HOP:
                fields.append((name, value))
                expects = expects or (name == "expect" and value.lower() == b"100-continue")
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            raise ValueError("an HTTP/1.1 request needs exactly one Host")
        target, authority = self._target.decode("latin-1"), hosts[0] if hosts else None
        if not target.startswith("/"):
            target, authority = _origin_form(target, authority)
        keep_alive = parser.should_keep_alive() and not parser.should_upgrade()
        method = method_case(parser.get_method())
        return RequestHead(method, target, version, authority, fields, keep_alive=keep_alive, expects=expects)

    def on_body(self, data: bytes) -> None:
        """Take a part of the body (httptools); it is discarded once the response is complete."""
        self._unread = 0
        if self._incoming is not None and not self._incoming.done:
            self._incoming.body.feed(data)

    def on_message_complete(self) -> None:
        """End the request (httptools)."""
        if self._incoming is not None:
            self._incoming.body.ended = True
            self._incoming = None
        self._input, self._unread = "HEAD", 0


def _origin_form(target: str, authority: str | None) -> tuple[str, str | None]:
    """Split "http://host/path" (RFC 9112, 3.2.2); neither "*" nor CONNECT's authority has a path."""
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return target, authority
    host, slash, path = rest.partition("/")
    return slash + path or "/", host
