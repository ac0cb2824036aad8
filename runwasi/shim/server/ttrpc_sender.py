"""Sends the frames of a ttrpc connection, on either side."""

from __future__ import annotations

from runwasi.shim.server.reactor import READABLE, WRITABLE, write_available

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.shim.server.reactor import Reactor

_MAX_UNSENT = 1 << 20  # we do not read from a peer that does not read


class Sender:
    """The outgoing half of a connection: it keeps what the socket does not accept."""

    def __init__(self, reactor: Reactor, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd
        self._unsent = bytearray()
        self._events = READABLE
        self._reads = True

    def __len__(self) -> int:
        """Return how many bytes are held."""
        return len(self._unsent)

    def unsent(self) -> str:
        """Return the waiting bytes in hexadecimal digits."""
        return self._unsent.hex()

    def read_on(self, reads: bool) -> None:
        """Resume reading from the peer, or pause it."""
        self._reads = reads
        self._watch()

    @property
    def clogged(self) -> bool:
        """Return whether more bytes are waiting than a reading peer would ever leave."""
        return len(self._unsent) > _MAX_UNSENT

    def send(self, data: bytes) -> None:
        """Send data, now or when the socket takes it. Raises OSError when the connection is broken."""
        self._unsent += data
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket accepts, and watch for the next opportunity."""
        while self._unsent:
            sent = write_available(self._fd, self._unsent)
            if not sent:
                break
            del self._unsent[:sent]
        self._watch()

    def _watch(self) -> None:
        reads = self._reads and not self.clogged
        events = (READABLE if reads else 0) | (WRITABLE if self._unsent else 0)
        if events != self._events:
            self._reactor.change(self._fd, events)
            self._events = events
