"""A guest's request and its response, over HTTP/1.1 with or without TLS.

Each request has its own connection, which advances while the guest waits (`pump`): no thread, no loop.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import time

import httptools

from runwasi.wasi.component.values import Err
from runwasi.wasi.http.body import HIGH_WATER, Arriving
from runwasi.wasi.http.fields import HOP_BY_HOP, HttpError, lines
from runwasi.wasi.http.framing import chunked
from runwasi.wasi.http.requests import IncomingResponse, OutgoingRequest, RequestOptions
from runwasi.wasi.io.streams import CHUNK
from runwasi.wasi.sockets.addresses import error_code as socket_error_code
from runwasi.wasi.sockets.name_lookup import Lookup, host_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.wasi.sockets.addresses import IpAddress

DEFAULT_TIMEOUT = 600.0
"""Default seconds to connect, until the response's head, and between two pieces of its body."""

_BODILESS_METHODS = ("get", "head", "options", "trace")
_CONNECT_ERRORS = {
    "connection-refused": "connection-refused", "remote-unreachable": "destination-IP-unroutable",
    "timeout": "connection-timeout", "access-denied": "destination-IP-prohibited",
}  # fmt: skip


class ClientExchange:
    """A request and its response; the `Transport` of both bodies.

    `_step` is the next step: resolve, connect, handshake or transfer. Each returns whether it is done.
    """

    def __init__(
        self, request: OutgoingRequest, options: RequestOptions, host: str, port: int, *, tls: bool
    ) -> None:
        """Begin to look up the host. Raises ValueError for a name that cannot be one, OSError."""
        self.response: IncomingResponse | None = None
        self.failure: HttpError | None = None
        self._request = request
        self._options = options
        self._host = host_name(host)
        self._port = port
        self._tls = tls
        self._addresses: list[IpAddress] = []
        self._lookup: Lookup | None = Lookup(self._host)
        self._socket: socket.socket | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._fields: list[tuple[str, bytes]] = []
        self._body = Arriving(self)
        self._framed = False
        self._out = b""
        self._head_sent = False
        self._chunked = False
        self._last_sent = False
        self._sources: tuple[int | None, int] = (None, 0)
        self._step: Callable[[], bool] = self._resolve
        self._allow("connection-timeout", options.connect)

    # --- Transport

    def sources(self) -> tuple[int | None, int, float | None]:
        """Return what the current step waits for."""
        return *self._sources, self._deadline

    def pump(self) -> None:
        """Take as many steps as possible without waiting."""
        try:
            while self.failure is None and self._step():
                pass
            if self.failure is None and self._deadline is not None and time.monotonic() >= self._deadline:
                self._fail(self._timeout_error)
        except HttpError as error:
            self._fail(*error.code)
        except ssl.SSLCertVerificationError:
            self._fail("TLS-certificate-error")
        except ssl.SSLError:
            self._fail("TLS-protocol-error")
        except httptools.HttpParserError:
            self._fail("HTTP-protocol-error")
        except OSError as error:
            self._fail(_CONNECT_ERRORS.get(socket_error_code(error), "connection-terminated"))

    def backlog(self) -> int:
        """Return the number of bytes that the socket has not accepted."""
        return len(self._out)

    def lingers(self, waiting: int) -> bool:
        """Hold nothing: the kernel joins small pieces as well as we could."""
        del waiting
        return False

    def body_finished(self) -> None:
        """Note that the request's body is complete, or no longer worth sending."""
        content = self._request.content
        if content is not None and content.aborted:
            self._fail("HTTP-request-body-size")
        else:
            self.pump()

    def answered(self) -> bool:
        """Return whether there is a response, or none will come."""
        return self.response is not None or self.failure is not None

    def close(self) -> None:
        """End the connection."""
        if self._lookup is not None:
            self._lookup.drop()
            self._lookup = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._sources = (None, 0)
        self._step = _do_nothing

    def _fail(self, case: str, payload: object = None) -> None:
        self.failure = self._body.failure = HttpError(case, payload)
        if self._request.content is not None:
            self._request.content.aborted = True
        self.close()

    def _allow(self, error: str, nanoseconds: int | None) -> None:
        """Set the time limit of the next step, and the error-code for exceeding it."""
        seconds = DEFAULT_TIMEOUT if nanoseconds is None else nanoseconds / 1e9
        self._deadline: float | None = time.monotonic() + seconds
        self._timeout_error = error

    # --- steps

    def _resolve(self) -> bool:
        assert self._lookup is not None
        if not self._lookup.subscribe().ready():
            self._sources = self._lookup.subscribe().sources()[:2]
            return False
        try:
            while (address := self._lookup.resolve_next_address()) is not None:
                self._addresses.append(address)
        except Err:
            raise HttpError("DNS-error", ("NXDOMAIN", None)) from None
        self._lookup.drop()
        self._lookup = None
        self._addresses.reverse()
        self._connect_next()
        return True

    def _connect_next(self) -> None:
        """Begin to connect to the next address; if there is none, fail with the last address's error."""
        family, parts = self._addresses.pop()
        if family == "ipv4":
            host = socket.inet_ntoa(bytes(parts))
        else:
            host = socket.inet_ntop(socket.AF_INET6, b"".join(part.to_bytes(2, "big") for part in parts))
        kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
        sock = socket.socket(kind, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._socket = sock
        result = sock.connect_ex((host, self._port))
        if result not in (0, errno.EINPROGRESS):
            self._try_next(result)
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sources = (sock.fileno(), select.POLLOUT)
        self._step = self._connect

    def _try_next(self, number: int) -> None:
        assert self._socket is not None
        self._socket.close()
        if not self._addresses:
            raise OSError(number, os.strerror(number))
        self._connect_next()

    def _connect(self) -> bool:
        assert self._socket is not None
        if not _is_ready(self._socket.fileno(), select.POLLOUT):
            return False
        result = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result:
            self._try_next(result)
            return True
        if self._tls:
            self._begin_tls()
        else:
            self._begin_transfer()
        return True

    def _begin_tls(self) -> None:
        assert self._socket is not None
        context = ssl.create_default_context()  # with the container's certificates
        context.set_alpn_protocols(["http/1.1"])
        try:
            self._socket = context.wrap_socket(
                self._socket, server_hostname=self._host, do_handshake_on_connect=False
            )
        except ValueError:  # a name that no certificate can have, such as one that begins with a dot
            raise HttpError("TLS-certificate-error") from None
        self._step = self._handshake

    def _handshake(self) -> bool:
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._sources = (self._socket.fileno(), select.POLLIN)
            return False
        except ssl.SSLWantWriteError:
            self._sources = (self._socket.fileno(), select.POLLOUT)
            return False
        self._begin_transfer()
        return True

    def _begin_transfer(self) -> None:
        self._step = self._transfer
        self._allow("connection-read-timeout", self._options.first_byte)

    def _transfer(self) -> bool:
        self._fill()
        moved = self._send()
        moved = self._receive() or moved
        if self._body.complete():
            self.close()
            return False
        if self._socket is not None:
            events = 0 if self._body.held >= HIGH_WATER else select.POLLIN
            self._sources = (self._socket.fileno(), events | (select.POLLOUT if self._out else 0))
        return moved

    # --- request out

    def _fill(self) -> None:
        """Format the head, and the guest's body as far as it is written, as HTTP/1.1."""
        content = self._request.content
        if len(self._out) >= CHUNK or self._last_sent:
            return
        chunks = content.take() if content is not None else []
        finished = content is None or content.finished
        if not self._head_sent:
            if not (finished or chunks) and self._is_likely_empty():
                return
            self._head_sent = True
            self._out += self._head(sum(map(len, chunks)), finished=finished)
        self._out += b"".join(chunked(chunks) if self._chunked else chunks)
        if finished:
            self._last_sent = True
            if self._chunked:
                trailers = content.trailers if content is not None else []
                self._out += b"0\r\n" + lines(trailers) + b"\r\n"

    def _is_likely_empty(self) -> bool:
        """Return whether to wait for the end of a body of unknown length: the method usually has no body."""
        content = self._request.content
        return (
            content is not None
            and content.declared is None
            and self._request.method_case[0] in _BODILESS_METHODS
        )

    def _head(self, size: int, *, finished: bool) -> bytes:
        request = self._request
        case, other = request.method_case
        method = (other or case.upper()).encode()
        target = (request.target or "/").encode()
        fields = [pair for pair in request.fields.pairs if pair[0] != "content-length"]
        length = request.content.declared if request.content is not None else None
        if length is None and finished:
            length = size
        framing = b""
        if length is None:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        elif length or case not in _BODILESS_METHODS:
            framing = b"content-length: %d\r\n" % length
        host = (request.host or "").rpartition("@")[2].encode()
        first = b"%s %s HTTP/1.1\r\nhost: %s\r\n" % (method, target, host)
        return first + lines(fields) + framing + b"connection: close\r\n\r\n"

    def _send(self) -> bool:
        assert self._socket is not None
        if not self._out:
            return False
        try:
            sent = self._socket.send(self._out)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        self._out = self._out[sent:]
        return sent > 0

    # --- response in

    def _receive(self) -> bool:
        if self._socket is None or self._body.held >= HIGH_WATER or not self._head_sent:
            return False
        try:
            data = self._socket.recv(CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        self._allow("connection-read-timeout", self._options.between_bytes)
        if data:
            self._parser.feed_data(data)
            return True
        if self.response is None or self._framed:
            raise HttpError("HTTP-response-incomplete")
        self._body.ended = True  # a body without framing ends with the connection
        return False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field, or a trailer if the body has begun (httptools)."""
        lower = name.lower().decode("latin-1")
        if lower in ("content-length", "transfer-encoding"):
            self._framed = True
        if lower not in HOP_BY_HOP:
            value = value.rstrip(b" \t")  # RFC 9110, 5.5; httptools leaves blanks behind a value
            (self._fields if self.response is None else self._body.trailers).append((lower, value))

    def on_headers_complete(self) -> None:
        """Make the response, unless the head is an interim one (httptools)."""
        status = self._parser.get_status_code()
        if status < 200:
            self._fields, self._framed = [], False
            return
        self.response = IncomingResponse(status, self._fields, self._body)
        if self._request.method_case[0] == "head":
            self._body.ended = True

    def on_body(self, data: bytes) -> None:
        """Take a part of the body (httptools)."""
        self._body.feed(data)

    def on_message_complete(self) -> None:
        """End the response (httptools)."""
        if self.response is not None:
            self._body.ended = True


def _do_nothing() -> bool:
    """Do nothing: the step of an exchange that has ended."""
    return False


def _is_ready(fd: int, events: int) -> bool:
    one = select.poll()
    one.register(fd, events)
    return bool(one.poll(0))
