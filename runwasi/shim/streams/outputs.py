"""Opens the destinations of a process's stdout and stderr: FIFOs, files, or nothing.

The process itself gets the writing end of a FIFO, so its output is never copied. The shim keeps the reading
end open: when containerd goes away, the process neither dies of SIGPIPE nor loses output; it blocks once the
FIFO is full. Source: containerd core/runtime/v2/README.md "I/O"; man 7 fifo.

A file may be on a filesystem that hangs: an errand opens it, and the server never has it open.
"""

from __future__ import annotations

import os
import select
import stat

from runwasi.executor.errors import ContainerError
from runwasi.linux import inotify, remembered_paths, sockets
from runwasi.linux.fd import Fd, close_owned, owner_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from runwasi.linux.waiting import Operation
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.reactor import Reactor

    class ProcessOutput(Protocol):
        """An output stream. fd is the descriptor for the process, until handed_over()."""

        fd: Fd | None

        def handed_over(self) -> None:
            """Note that the process has its copy of fd."""

        def process_ended(self) -> None:
            """Note that nothing more will be written: let the reader see the end."""

        def close(self) -> None:
            """Close everything."""

        def state(self, keep: Keep) -> dict[str, Any]:
            """Return the state from which taken_over restores it in another program."""


_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


class PlainOutput:
    """/dev/null for no output, or the pipe of a logger."""

    def __init__(self, fd: Fd | None) -> None:
        self.fd = fd

    def handed_over(self) -> None:
        """Close our copy."""
        self.close()

    def process_ended(self) -> None:
        """Do nothing: the process's own copy was the last."""

    def close(self) -> None:
        """Close our copy."""
        close_owned((self.fd,))
        self.fd = None

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return the state from which another program continues."""
        return {"fd": keep(self.fd)}


class SentFile(PlainOutput):
    """A file; fd is a socket with the file's descriptor, once for each stream (executor/plan/sent_stdio.py)."""

    def twin(self) -> SentFile:
        """Return the output of the other stream into the same file."""
        assert self.fd is not None
        return SentFile(Fd(os.dup(self.fd.fileno())))


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
        """Close our copy of the writing end, so that only the process has one."""
        close_owned((self.fd,))
        self.fd = None

    def process_ended(self) -> None:
        """Let the reader see the end; without a reader, keep the FIFO's content until one comes.

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
        # Closing now would discard the unread output, and a reader's open would wait for a writer for ever.
        self._wait_for_reader(writer)

    def close(self) -> None:
        """Close everything; unread output without a reader is lost."""
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
    """Restore an output of the program that we replace from its state."""
    return (
        FifoOutput(reactor, state["path"], state) if "path" in state else PlainOutput(owner_of(state["fd"]))
    )


def open_output(reactor: Reactor, uri: str, streams: int = 1) -> Operation[ProcessOutput]:
    """Open the output of one stream, or two, by its path or file:// URI; "" is none. Raises ContainerError."""
    path = uri.removeprefix("file://")
    if path == uri and "://" in uri:
        raise ContainerError(
            f"unknown STDIO scheme {uri.partition('://')[0]}: expected a FIFO's path, file:// or binary://"
        )
    try:
        if not path:
            return PlainOutput(Fd(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)))
        if path == uri and remembered_paths.is_fifo(path):
            return FifoOutput(reactor, path)
        sent = yield from sent_file(path, _APPEND | (os.O_CREAT if path != uri else 0), streams)
        return FifoOutput(reactor, path) if sent is None else SentFile(sent)
    except OSError as error:
        raise cannot_open(path, error) from None


def cannot_open(path: str, error: OSError) -> ContainerError:
    """Return the error for a stream that cannot be opened."""
    return ContainerError(f"open {path}: {error.strerror}", errno=error.errno or 0)


def sent_file(path: str, flags: int, streams: int = 1) -> Operation[Fd | None]:
    """Have an errand open a file; return a socket with its descriptor, once for each stream that takes it out.

    One that nobody takes out would be closed with the socket, which may block. A FIFO is not opened: None.
    """
    from runwasi.executor.parent import errands  # late: few streams are files

    ours, theirs = map(Fd, sockets.socket_pair())

    def work() -> errands.Answer:
        try:
            if not flags & os.O_CREAT and stat.S_ISFIFO(os.stat(path).st_mode):
                return ("FIFO",), ()
            opened = _open_file(path, flags)
            for _ in range(streams):
                sockets.send_fds(theirs.fileno(), b"\0", (opened,))
        except OSError as error:
            raise cannot_open(path, error) from None
        return (), ()

    with theirs:
        try:
            answer = yield from errands.run(work, f"open {path}", kept=(theirs.fileno(),))
        except BaseException:
            ours.close()
            raise
    if not answer.fields:
        return ours
    ours.close()
    return None


def _open_file(path: str, flags: int) -> int:
    """Open a file; with O_CREAT the folders above it are made too. Reads and writes may wait. Raises OSError."""
    if flags & os.O_CREAT:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    opened = os.open(path, flags, 0o644)
    os.set_blocking(opened, True)
    return opened


def _has_reader(writer: Fd) -> bool:
    """Return whether anybody has the reading end of a FIFO open: otherwise poll(2) reports an error."""
    poll = select.poll()
    poll.register(writer.fileno(), 0)
    return not poll.poll(0)
