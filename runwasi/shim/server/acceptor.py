"""Accepts what connects to a listening socket, as far as it is of our own user and group.

When descriptors or memory run out it rests for a moment: clients stay in the kernel's queue until there is room.
"""

from __future__ import annotations

import os

from runwasi.linux import sockets
from runwasi.linux.fd import Fd
from runwasi.shim.server.reactor import READABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.shim.server.reactor import Reactor

_REST = 0.1  # seconds; far less than any client waits for its answer


class Acceptor:
    """Watches a listening socket, and owns it; connected gets each connection, non-blocking, and its peer's pid.

    If connected raises, it has not taken the connection over. complain gets the first of the errors in a row that
    made the acceptor rest.
    """

    def __init__(
        self,
        reactor: Reactor,
        listener: Fd,
        connected: Callable[[int, int], None],
        complain: Callable[[OSError], None],
        at_once: int = 1,
    ) -> None:
        self.listener = listener
        self._reactor = reactor
        self._connected = connected
        self._complain = complain
        self._at_once = at_once
        self._held = False
        self._resting = False
        os.set_blocking(listener.fileno(), False)
        reactor.watch(listener.fileno(), self._ready)

    @property
    def listening(self) -> bool:
        """Return whether new clients are accepted."""
        return self.listener.is_open

    def hold_back(self, held: bool) -> None:
        """Stop accepting for now, or resume."""
        self._held = held
        self._watch_again()

    def close(self) -> None:
        """Stop accepting; may be called twice."""
        if self.listening:
            self._reactor.unwatch(self.listener.fileno())
            self.listener.close()

    def accept_waiting(self) -> None:
        """Accept every client that has connected so far."""
        try:
            while (fd := self._accept()) is not None:
                self._connect(fd)
        except OSError as error:
            self._complain(error)

    def _ready(self, _events: int) -> None:
        for _ in range(self._at_once):
            try:
                fd = self._accept()
            except OSError as error:  # out of descriptors or memory for now
                self._rest(error)
                return
            if fd is None:
                break
            self._connect(fd)
        self._resting = False

    def _rest(self, error: OSError) -> None:
        if not self._resting:
            self._complain(error)
        self._resting = True
        self._reactor.change(self.listener.fileno(), 0)
        self._reactor.call_later(_REST, self._watch_again)

    def _watch_again(self) -> None:
        if self.listening:
            self._reactor.change(self.listener.fileno(), 0 if self._held else READABLE)

    def _accept(self) -> Fd | None:
        """Accept a connection; return None if there was none."""
        while True:
            try:
                return Fd(sockets.accept(self.listener.fileno()))
            except BlockingIOError:
                return None
            except ConnectionAbortedError:
                continue

    def _connect(self, connection: Fd) -> None:
        """Hand a connection on, or close it: if it is of another user or group, or if it cannot be served."""
        with connection:
            pid, uid, gid = sockets.peer_credentials(connection.fileno())
            if (uid, gid) == (os.geteuid(), os.getegid()):
                os.set_blocking(connection.fileno(), False)
                self._connected(connection.fileno(), pid)
                connection.detach()
