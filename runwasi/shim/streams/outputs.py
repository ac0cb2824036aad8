"""Where a process's stdout and stderr go: FIFOs, files, loggers, or nowhere.

A FIFO's writing end is given to the process itself, so its output is never copied. The shim keeps the
reading end open meanwhile: when containerd goes away the process neither dies of SIGPIPE nor loses what it
wrote, it waits once the FIFO is full. Source: containerd core/runtime/v2/README.md "I/O"; man 7 fifo.
"""

from __future__ import annotations

import os
import select
import stat
from errno import ENXIO

from runwasi.executor.errors import ContainerError
from runwasi.linux import inotify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.reactor import Reactor

    class Output(Protocol):
        """One outgoing stream. fd is what the process writes to, until handed_over()."""

        fd: int

        def handed_over(self) -> None:
            """The process has its copy of fd."""

        def process_ended(self) -> None:
            """Nothing more will be written: let the reader come to the end."""

        def close(self) -> None:
            """Give up everything."""

        def state(self, keep: Keep) -> dict[str, Any]:
            """Return what taken_over makes the same of in a program that takes this one's place."""


class FileOutput:
    """A file that is appended to, /dev/null for nowhere, or the pipe of a logger."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def handed_over(self) -> None:
        """Close our copy."""
        self.close()

    def process_ended(self) -> None:
        """Nothing: the process's own copy was the last."""

    def close(self) -> None:
        """Close our copy."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return what is needed to go on in another program."""
        return {"fd": keep(self.fd)}


class FifoOutput:
    """A FIFO that containerd, or another client, reads."""

    def __init__(self, reactor: Reactor, path: str, state: Mapping[str, int] | None = None) -> None:
        self._reactor = reactor
        self._path = path
        self._late_writer = -1
        self._watch = -1
        if state is not None:
            self.fd, self._spare = state["fd"], state["spare"]
            if state["late_writer"] >= 0:
                self._wait_for_reader(state["late_writer"])
            return
        self._spare = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # does not wait: we are the reader

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return what is needed to go on in another program."""
        fds = {"fd": self.fd, "spare": self._spare, "late_writer": self._late_writer}
        return {"path": self._path, **{name: keep(fd) for name, fd in fds.items()}}

    def handed_over(self) -> None:
        """Close our copy of the writing end, so that the process's is the only one."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def process_ended(self) -> None:
        """Let the reader see the end; without one, keep what is in the FIFO until a reader comes.

        Clients wait for the end of output before they delete the process, so this cannot wait for the
        deletion.
        """
        self.handed_over()
        if self._spare < 0:
            return
        writer = os.open(f"/proc/self/fd/{self._spare}", os.O_WRONLY | os.O_CLOEXEC)
        os.close(self._spare)
        self._spare = -1
        if _has_reader(writer):
            os.close(writer)
            return
        # Closing now would throw away what nobody has read, and a reader's open would wait for a writer for
        # ever.
        self._wait_for_reader(writer)

    def close(self) -> None:
        """Close everything; what is unread and has no reader is lost."""
        self.handed_over()
        self._stop_waiting()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _wait_for_reader(self, writer: int) -> None:
        self._late_writer = writer
        self._watch = inotify.watch(self._path, inotify.IN_OPEN)
        self._reactor.watch(self._watch, self._opened)
        if _has_reader(writer):  # it came before we looked
            self._reactor.call_soon(self._stop_waiting)

    def _opened(self, _events: int) -> None:
        os.read(self._watch, 4096)
        if _has_reader(self._late_writer):
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._watch >= 0:
            self._reactor.unwatch(self._watch)
            os.close(self._watch)
            self._watch = -1
        if self._late_writer >= 0:
            os.close(self._late_writer)
            self._late_writer = -1


def taken_over(reactor: Reactor, state: Mapping[str, Any]) -> Output:
    """Return the output of a program whose place we take, by its state."""
    return FifoOutput(reactor, state["path"], state) if "path" in state else FileOutput(state["fd"])


def open_output(reactor: Reactor, uri: str) -> Output:
    """Open a stream by its path or file:// URI; empty is nowhere. Raises ContainerError."""
    path = uri.removeprefix("file://")
    try:
        if not path:
            return FileOutput(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        if path != uri:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            return FileOutput(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644))
        if "://" in uri:
            raise ContainerError(f"unknown STDIO scheme {uri.partition('://')[0]}")
        if stat.S_ISFIFO(os.stat(path).st_mode):
            return FifoOutput(reactor, path)
        return FileOutput(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))
    except OSError as error:
        raise ContainerError(f"open {path}: {error.strerror}", errno=error.errno or 0) from None


class Input:
    """A process's stdin: a FIFO, or nothing.

    The shim keeps a writing end, so that the process reads on when containerd restarts; close_writer() is
    CloseIO.
    """

    def __init__(self, path: str, writer: int | None = None) -> None:
        """With writer, go on with what state said."""
        self._writer = -1
        if writer is not None:
            self.fd, self._writer = -1, writer
            return
        try:
            if not path:
                self.fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                return
            self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._writer = _open_writer(path)
        except OSError as error:
            raise ContainerError(f"open {path}: {error.strerror}", errno=error.errno or 0) from None
        os.set_blocking(self.fd, True)

    def state(self, keep: Keep) -> int:
        """Return what is needed to go on in another program: the process has its end already."""
        return keep(self._writer)

    def handed_over(self) -> None:
        """Close our copy of the reading end."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def close_writer(self) -> None:
        """Let the process read the end once the client has closed too."""
        fd, self._writer = self._writer, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        """Close both ends."""
        self.handed_over()
        self.close_writer()


def _open_writer(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == ENXIO:  # not a FIFO but a device, which needs no writer
            return -1
        raise


def _has_reader(writer: int) -> bool:
    """Tell whether anybody has the reading end of a FIFO open: a writer without one is in error."""
    poll = select.poll()
    poll.register(writer, 0)
    return not poll.poll(0)
