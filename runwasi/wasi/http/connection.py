"""A client's connection to the HTTP server: its socket, its HTTP/1.1 state and its guest."""

from __future__ import annotations

import select
import socket

from runwasi.wasi.http.http1 import Http1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runwasi.wasi.http.guest_call import GuestCall

READ_SIZE = 65536


class HttpConnection:
    """Moves bytes between a socket and an Http1, when the server says so.

    lost   the client is gone, or cannot be sent anything
    ended  our side is shut down; the client is to end its own
    unsent bytes that the socket has not accepted
    since  when the client last became the one to act: it connected, got a response or a part of one
    """

    __slots__ = ("_left_over", "_sock", "call", "ended", "fd", "http", "lost", "mask", "since", "unsent")

    def __init__(self, sock: socket.socket, now: float) -> None:
        self._sock = sock
        self._left_over = b""
        self.fd = sock.fileno()
        self.http = Http1()
        self.call: GuestCall | None = None
        self.mask = select.EPOLLIN
        self.lost = False
        self.ended = False
        self.since = now
        self.unsent = 0

    def receive(self) -> None:
        """Read once, and pass the bytes to the Http1."""
        try:
            data = self._sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            self.lost = True
            return
        if data:
            self.http.receive(data)
        elif self.ended:
            self.lost = True
        else:
            self.http.end_input()

    def send(self, chunks: Sequence[bytes]) -> bool:
        """Send the bytes left over, then these; keep what the socket does not accept.

        Returns whether the socket accepted anything.
        """
        data = b"".join((self._left_over, *chunks)) if self._left_over else b"".join(chunks)
        if not data or self.lost:
            return False
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lost = True
            return False
        self._left_over = data[sent:] if sent < len(data) else b""
        self.unsent = len(self._left_over)
        if self.http.current is not None:
            self.http.current.unsent = self.unsent
        return sent > 0

    def awaits_client(self) -> bool:
        """Return whether the client is the one to act: by sending, reading, or ending the connection."""
        return bool(self.unsent) or self.http.is_idle()

    def end(self) -> None:
        """Shut our side down, once everything is sent; the client is to end its own.

        Closing with input unread would make the kernel reset the connection, and the client might lose the
        response. Source: RFC 9112, 9.6.
        """
        if self.unsent or self.ended:
            return
        self.ended = True
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.lost = True

    def wanted(self) -> int:
        """Return the epoll events of the socket to wait for."""
        reading = self.ended or self.http.wants_input()
        return (select.EPOLLIN if reading else 0) | (select.EPOLLOUT if self.unsent else 0)

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()
