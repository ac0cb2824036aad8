"""Opens what a process's stdout and stderr go to: FIFOs, files, loggers, or nothing.

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
from runwasi.linux.fd import Fd, close_owned, owner_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.reactor import Reactor

    class ProcessOutput(Protocol):
        """One outgoing stream. fd is what the process writes to, until handed_over()."""

        fd: Fd | None

        def handed_over(self) -> None:
            """The process has its copy of fd."""

        def process_ended(self) -> None:
            """Nothing more will be written: let the reader come to the end."""

        def close(self) -> None:
            """Close everything."""

        def state(self, keep: Keep) -> dict[str, Any]:
            """Return the state from which taken_over restores it in another program."""


_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


class PlainOutput:
    """A file that is appended to, /dev/null for nowhere, or the pipe of a logger."""

    def __init__(self, fd: Fd | None) -> None:
        self.fd = fd

    def handed_over(self) -> None:
        """Close our copy."""
        self.close()

    def process_ended(self) -> None:
        """Nothing: the process's own copy was the last."""

    def close(self) -> None:
        """Close our copy."""
        close_owned((self.fd,))
        self.fd = None

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return the state from which another program continues."""
        return {"fd": keep(self.fd)}


class FifoOutput:
    """A FIFO that containerd, or another client, reads."""

    def __init__(self, reactor: Reactor, path: str, state: Mapping[str, int | None] | None = None) -> None:
        self._reactor = reactor
        self._path = path
        self._late_writer: Fd | None = None
        self._watch: Fd | None = None
        self.fd: Fd | None
        self._spare: Fd | None
        if state is not None:
            self.fd, self._spare = owner_of(state["fd"]), owner_of(state["spare"])
            late_writer = owner_of(state["late_writer"])
            if late_writer is not None:
                self._wait_for_reader(late_writer)
            return
        self._spare = Fd(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            self.fd = Fd(os.open(path, os.O_WRONLY | os.O_CLOEXEC))  # does not wait: we are the reader
        except OSError:
            self._spare.close()
            raise

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return the state from which another program continues."""
        fds = {"fd": self.fd, "spare": self._spare, "late_writer": self._late_writer}
        return {"path": self._path, **{name: keep(fd) for name, fd in fds.items()}}

    def handed_over(self) -> None:
        """Close our copy of the writing end, so that the process's is the only one."""
        close_owned((self.fd,))
        self.fd = None

    def process_ended(self) -> None:
        """Let the reader see the end; without one, keep what is in the FIFO until a reader comes.

        Clients wait for the end of output before they delete the process, so this cannot wait for the
        deletion.
        """
        self.handed_over()
        if self._spare is None:
            return
        writer = Fd(os.open(f"/proc/self/fd/{self._spare.fileno()}", os.O_WRONLY | os.O_CLOEXEC))
        self._spare.close()
        self._spare = None
        if _has_reader(writer):
            writer.close()
            return
        # Closing now would throw away what nobody has read, and a reader's open would wait for a writer for
        # ever.
        self._wait_for_reader(writer)

    def close(self) -> None:
        """Close everything; what is unread and has no reader is lost."""
        self.handed_over()
        self._stop_waiting()
        close_owned((self._spare,))
        self._spare = None

    def _wait_for_reader(self, writer: Fd) -> None:
        self._late_writer = writer
        self._watch = Fd(inotify.watch(self._path, inotify.IN_OPEN))
        self._reactor.watch(self._watch.fileno(), self._opened)
        if _has_reader(writer):  # it came before we looked
            self._reactor.call_soon(self._stop_waiting)

    def _opened(self, _events: int) -> None:
        assert self._watch is not None
        assert self._late_writer is not None
        os.read(self._watch.fileno(), 4096)
        if _has_reader(self._late_writer):
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._watch is not None:
            self._reactor.unwatch(self._watch.fileno())
        close_owned((self._watch, self._late_writer))
        self._watch = self._late_writer = None


def taken_over(reactor: Reactor, state: Mapping[str, Any]) -> ProcessOutput:
    """Return the output of the program that we replace, by its state."""
    return (
        FifoOutput(reactor, state["path"], state) if "path" in state else PlainOutput(owner_of(state["fd"]))
    )


def open_output(reactor: Reactor, uri: str) -> ProcessOutput:
    """Open a stream by its path or file:// URI; empty is nowhere. Raises ContainerError."""
    path = uri.removeprefix("file://")
    try:
        if not path:
            return PlainOutput(Fd(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)))
        if path != uri:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            return PlainOutput(Fd(os.open(path, _APPEND | os.O_CREAT, 0o644)))
        if "://" in uri:
            raise ContainerError(
                f"unknown STDIO scheme {uri.partition('://')[0]}: expected a FIFO's path, file:// or binary://"
            )
        if stat.S_ISFIFO(os.stat(path).st_mode):
            return FifoOutput(reactor, path)
        return PlainOutput(Fd(os.open(path, _APPEND)))
    except OSError as error:
        raise ContainerError(f"open {path}: {error.strerror}", errno=error.errno or 0) from None


class ProcessInput:
    """A process's stdin: a FIFO, or nothing.

    The shim keeps a writing end, so that the process reads on when containerd restarts; close_writer() is
    CloseIO.
    """

    def __init__(self, path: str) -> None:
        self._writer: Fd | None = None
        self.fd: Fd | None = None
        try:
            if not path:
                self.fd = Fd(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
                return
            self.fd = Fd(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            self._writer = _open_writer(path)
        except OSError as error:
            self.close()
            raise ContainerError(f"open {path}: {error.strerror}", errno=error.errno or 0) from None
        os.set_blocking(self.fd.fileno(), True)

    @classmethod
    def taken_over(cls, state: Mapping[str, int | None]) -> ProcessInput:
        """Go on with the stdin of the program that we replace."""
        taken = cls.__new__(cls)
        taken.fd, taken._writer = None, owner_of(state["writer"])
        return taken

    def state(self, keep: Keep) -> dict[str, int | None]:
        """Return the state from which another program continues: the process has its end already."""
        return {"writer": keep(self._writer)}

    def handed_over(self) -> None:
        """Close our copy of the reading end."""
        close_owned((self.fd,))
        self.fd = None

    def close_writer(self) -> None:
        """Let the process read the end once the client has closed too."""
        close_owned((self._writer,))
        self._writer = None

    def close(self) -> None:
        """Close both ends."""
        self.handed_over()
        self.close_writer()


def _open_writer(path: str) -> Fd | None:
    try:
        return Fd(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == ENXIO:  # not a FIFO but a device, which needs no writer
            return None
        raise


def _has_reader(writer: Fd) -> bool:
    """Return whether anybody has the reading end of a FIFO open: a writer without one is in error."""
    poll = select.poll()
    poll.register(writer.fileno(), 0)
    return not poll.poll(0)
