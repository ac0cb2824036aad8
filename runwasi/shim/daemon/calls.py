"""Serves the daemon's socket: receives calls, takes each once, and sends the results.

Callers are root's processes. Even so, one that sends nothing or does not read must not delay others: nothing here
blocks, and a client that does not send its call in time is dropped.
"""

from __future__ import annotations

import os

from runwasi.linux import sockets
from runwasi.linux.fd import Fd, close_owned
from runwasi.shim.client import packet
from runwasi.shim.client.packet import PacketError
from runwasi.shim.server.acceptor import Acceptor
from runwasi.startup import installation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.shim.client.packet import CallPacket
    from runwasi.shim.server.log import Log
    from runwasi.shim.server.reactor import Reactor, Timer

_PATIENCE = 1.0  # seconds that a connected client may take to send its call
_MAX_SILENT = 512  # clients that have not sent their call yet
_ACCEPTED_AT_ONCE = 64


class Caller:
    """A waiting client: its connection, its folder and its call; its holder closes it."""

    __slots__ = ("_fd", "_folder", "call", "pid")

    def __init__(self, fd: int, pid: int, call: CallPacket, folder: int) -> None:
        self._fd = Fd(fd)
        self.pid = pid
        self.call = call
        self._folder = Fd(folder)

    def fileno(self) -> int:
        """Return the connection."""
        return self._fd.fileno()

    @property
    def folder(self) -> int:
        """The client's working directory."""
        return self._folder.fileno()

    def folder_path(self) -> str:
        """Return the folder's path. Raises OSError."""
        return os.readlink(f"/proc/self/fd/{self.folder}")

    def answer(self, status: int, output: bytes = b"", errors: bytes = b"") -> None:
        """Send the exit status and the output; a client that has gone does not get them."""
        self._say(packet.reply(packet.ANSWER, status, output, errors))

    def send_away(self) -> None:
        """Tell the client to do it itself."""
        self._say(packet.reply(packet.COLD))

    def close(self) -> None:
        """Close the connection and the folder. Without an answer the client does it itself."""
        close_owned((self._fd, self._folder))

    def _say(self, reply: bytes) -> bool:
        try:
            os.write(self._fd.fileno(), reply)
        except OSError:
            return False
        return True

    def take(self) -> bool:
        """Tell the client that its call is being carried out; return False if it has given up."""
        return self._say(packet.reply(packet.TAKEN))


class Calls:
    """Accepts clients and hands each call over, once it is here in full and taken.

    The call of a client of another version goes without us; superseded is called when that is the one installed now.
    """

    def __init__(
        self,
        reactor: Reactor,
        listener: Fd,
        path: str,
        log: Log,
        handle: Callable[[Caller], None],
        superseded: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._note = packet.note_path(path)
        self._log = log
        self._handle = handle
        self._superseded = superseded
        self._silent: dict[int, Timer] = {}
        self._deserted: Callable[[], None] | None = None
        self._remove_note()
        self._acceptor = Acceptor(reactor, listener, self._connected, self._cannot_accept, _ACCEPTED_AT_ONCE)

    def hold_back(self, held: bool) -> None:
        """Pause accepting, or resume."""
        self._acceptor.hold_back(held)

    def quiet(self) -> bool:
        """Return whether every connected client has sent its call."""
        return self._acceptor.listening and not self._silent

    def end(self, done: Callable[[], None]) -> None:
        """Stop accepting, and call done once every connected client has been handled."""
        if not self._acceptor.listening:
            return
        self._acceptor.accept_waiting()
        self._acceptor.close()
        self._deserted = done
        self._look_for_silent()

    def _cannot_accept(self, error: OSError) -> None:
        self._log.error("cannot accept a call", error=str(error))

    def _connected(self, fd: int, pid: int) -> None:
        if len(self._silent) >= _MAX_SILENT:
            os.close(fd)
            return
        self._reactor.watch(fd, lambda _events: self._asked(fd, pid))
        self._silent[fd] = self._reactor.call_later(_PATIENCE, lambda: self._drop(fd))

    def _drop(self, fd: int) -> None:
        """Drop a client that does not send its call."""
        self._heard(fd)
        os.close(fd)
        self._look_for_silent()

    def _heard(self, fd: int) -> None:
        self._reactor.unwatch(fd)
        self._silent.pop(fd).cancel()

    def _asked(self, fd: int, pid: int) -> None:
        self._heard(fd)
        fds: list[int] = []
        try:
            data, fds = sockets.receive_fds(fd, packet.MAX_CALL)
            call = packet.CallPacket.decode(data)
            if len(fds) != 1:
                raise PacketError(f"{len(fds)} descriptors")
        except (OSError, PacketError) as error:
            self._log.debug("not a call", error=str(error))
            self._remove_note()
            sockets.close_all([fd, *fds])
        else:
            self._carry_out(Caller(fd, pid, call, fds[0]))
        self._look_for_silent()

    def _carry_out(self, caller: Caller) -> None:
        if not caller.take():
            self._remove_note()  # the client gave up; remove what it left, as we serve again
            caller.close()
        elif caller.call.version != installation.version():
            caller.send_away()
            caller.close()
            if installation.is_superseded():
                self._superseded()
        else:
            self._handle(caller)

    def _remove_note(self) -> None:
        try:
            os.unlink(self._note)
        except FileNotFoundError:
            return

    def _look_for_silent(self) -> None:
        if self._deserted and not self._silent:
            deserted, self._deserted = self._deserted, None
            deserted()
