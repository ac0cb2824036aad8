"""Formats a response as HTTP/1.1: its head, and the framing of its body. Source: RFC 9112."""

from __future__ import annotations

import time
from http import HTTPStatus

from runwasi.wasi.http.fields import lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runwasi.wasi.http.exchange import Exchange

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_BODILESS = (204, 304)  # RFC 9110, 6.4.1; a guest cannot set those below 200


class Framing:
    """One response on its way out."""

    __slots__ = ("_chunked", "_ended", "_silent")

    def __init__(self) -> None:
        self._chunked = False
        self._silent = False  # the response has no body
        self._ended = False

    def take(self, exchange: Exchange) -> list[bytes]:
        """Return the bytes of the response that can be sent now, each only once."""
        out: list[bytes] = []
        if exchange.continued:
            exchange.continued = False
            out.append(CONTINUE)
        if not exchange.status:
            return out
        chunks = exchange.take()
        if not exchange.begun:
            exchange.begun = True
            out += self._head(exchange, sum(map(len, chunks)))
        if self._silent:
            return out
        out += chunked(chunks) if self._chunked else chunks
        if self._chunked and exchange.done and not exchange.aborted and not self._ended:
            self._ended = True
            out += (b"0\r\n", lines(exchange.trailers()), b"\r\n")
        return out

    def _head(self, exchange: Exchange, size: int) -> list[bytes]:
        """Format the head, and choose the body's framing. Source: RFC 9112, 6.3 and 9.3."""
        status, head = exchange.status, exchange.head
        out = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, exchange.lines]
        if not exchange.dated:
            out.append(date.line())
        self._silent = head.method[0] == "head" or status in _BODILESS
        length = exchange.declared
        if length is None and not self._silent:
            if exchange.done and not exchange.trailers():
                length = size
            elif head.version == "1.0":
                exchange.last = True  # only the connection's end marks the body's end
            else:
                self._chunked = True
                out.append(b"transfer-encoding: chunked\r\n")
        if length is not None and status != 204:
            out.append(b"content-length: %d\r\n" % length)
        if exchange.last:
            out.append(b"connection: close\r\n")
        elif head.version == "1.0":
            out.append(b"connection: keep-alive\r\n")
        out.append(b"\r\n")
        return out


def chunked(chunks: Iterable[bytes]) -> list[bytes]:
    """Frame chunks, leaving out empty ones: they would end the body. Source: RFC 9112, 7.1."""
    return [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk]


class _Date:
    """The Date field, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        """Return the line for the current second."""
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._line = time.strftime("date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(now)).encode()
        return self._line


date = _Date()
