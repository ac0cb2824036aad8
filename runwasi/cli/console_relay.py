"""Connects our terminal to that of a process in the foreground."""

from __future__ import annotations

import os
import select

from runwasi.linux.fd import Fd, close_owned
from runwasi.linux.sockets import receive_fds, socket_pair
from runwasi.linux.terminal import set_window_size, window_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

_CHUNK = 4096  # a pipe that polls as writable takes this much without blocking: man 7 pipe, PIPE_BUF


class ConsoleRelay:
    """Our terminal, in raw mode, connected to the process's.

    Raises OSError when we have no terminal.
    """

    def __init__(self) -> None:
        self._host = Fd(_own_terminal())
        self._receiving, self._sending = map(Fd, socket_pair())
        self._master: Fd | None = None
        self._saved: list[Any] | None = None
        self._pumps: list[Pump] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._saved is not None:
            from termios import TCSADRAIN, tcsetattr

            tcsetattr(self._host.fileno(), TCSADRAIN, self._saved)
        close_owned((self._host, self._receiving, self._sending, self._master))

    @property
    def socket(self) -> int:
        """Where the process's side sends its terminal's master."""
        return self._sending.fileno()

    def connect(self) -> None:
        """Receive the master, and from now on copy bytes between it and our streams."""
        _, (master, *_) = receive_fds(self._receiving.fileno())
        self._master = Fd(master)
        os.set_blocking(master, False)
        self._set_modes(master)
        self.resize()
        self._pumps = [Pump(master, 1), Pump(0, master)]

    def _set_modes(self, master: int) -> None:
        """Let the container's terminal handle keys, and ours line ends, as our output may be elsewhere."""
        from termios import ONLCR, OPOST, TCSANOW, tcgetattr, tcsetattr  # late: only for terminals
        from tty import setraw

        theirs = tcgetattr(master)
        theirs[1] &= ~ONLCR
        tcsetattr(master, TCSANOW, theirs)
        host = self._host.fileno()
        saved = tcgetattr(host)
        setraw(host, TCSANOW)
        raw = tcgetattr(host)
        raw[1] |= OPOST
        tcsetattr(host, TCSANOW, raw)
        self._saved = saved

    def resize(self) -> None:
        """Give the process's terminal the size of ours."""
        if self._master is None:
            return
        try:
            set_window_size(self._master.fileno(), *window_size(self._host.fileno()))
        except OSError:  # ours was closed: there is no size to follow
            return

    def wanted(self) -> dict[int, int]:
        """Return the descriptors to wait for, with their events."""
        wanted: dict[int, int] = {}
        for pump in self._pumps:
            for fd, events in pump.wanted():
                wanted[fd] = wanted.get(fd, 0) | events
        return wanted

    def turn(self, ready: dict[int, int]) -> None:
        """Copy the bytes that can be copied without waiting."""
        for pump in self._pumps:
            pump.turn(ready)

    def drain(self) -> None:
        """Write everything that the process wrote before it ended."""
        if self._pumps:
            self._pumps[0].drain()


class Pump:
    """Copies bytes from one descriptor to another, without ever blocking on either."""

    __slots__ = ("_buffer", "_ended", "_source", "_target")

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._buffer = b""
        self._ended = False

    def wanted(self) -> list[tuple[int, int]]:
        """Return the events to wait for: room if there are bytes to write, otherwise bytes to read."""
        if self._buffer:
            return [(self._target, select.POLLOUT)]
        return [] if self._ended else [(self._source, select.POLLIN)]

    def turn(self, ready: dict[int, int]) -> None:
        """Read or write once, if poll said so."""
        if self._buffer:
            if ready.get(self._target, 0) & ~select.POLLIN:
                self._write()
        elif not self._ended and ready.get(self._source, 0) & ~select.POLLOUT:
            self._read()

    def drain(self) -> None:
        """Copy everything that is available now."""
        while True:
            while self._buffer:
                _wait_until_writable(self._target)
                self._write()
            if self._ended or not _readable(self._source):
                return
            self._read()

    def _read(self) -> None:
        try:
            self._buffer = os.read(self._source, _CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last process closed the terminal
            self._buffer = b""
        self._ended = not self._buffer

    def _write(self) -> None:
        try:
            written = os.write(self._target, self._buffer[:_CHUNK])
        except BlockingIOError:
            return
        except OSError:  # the reader is gone: let the process go on writing
            written = len(self._buffer)
        self._buffer = self._buffer[written:]


def _readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _own_terminal() -> int:
    """Return a descriptor of our terminal: one of our streams, otherwise the controlling terminal. Raises OSError."""
    for fd in (2, 1, 0):
        if os.isatty(fd):
            return os.dup(fd)
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        wish = "the container wants a terminal, by process.terminal or --tty, and this command has none"
        why = f"{error.strerror} ({wish})"
        raise OSError(error.errno, why, error.filename) from None


def _wait_until_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
