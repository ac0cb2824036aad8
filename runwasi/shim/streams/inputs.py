"""Opens a process's stdin: a FIFO, a file or a device, or nothing.

A file may be on a filesystem that hangs: as with the outputs, an errand opens it, and the server never has it open.
"""

from __future__ import annotations

import os

from runwasi.linux import remembered_paths
from runwasi.linux.fd import Fd, close_owned, owner_of
from runwasi.shim.streams.outputs import cannot_open, sent_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.linux.waiting import Operation
    from runwasi.shim.daemon.handover import Keep

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC


class ProcessInput:
    """A process's stdin. fd is the descriptor for the process, or a socket that it was sent through.

    The shim keeps a writing end of a FIFO open, so that the process can read on when containerd restarts;
    close_writer() is CloseIO.
    """

    def __init__(self, fd: Fd | None, writer: Fd | None = None, *, sent: bool = False) -> None:
        self.fd = fd
        self.writer = writer
        self.sent = sent

    @classmethod
    def taken_over(cls, state: Mapping[str, int | None]) -> ProcessInput:
        """Restore a stdin of the program that we replace."""
        return cls(None, owner_of(state["writer"]))

    def state(self, keep: Keep) -> dict[str, int | None]:
        """Return the state from which another program continues; the process has its own end."""
        return {"writer": keep(self.writer)}

    def handed_over(self) -> None:
        """Close our copy of the reading end."""
        close_owned((self.fd,))
        self.fd = None

    def close_writer(self) -> None:
        """Close our writing end: the process sees the end once the client has closed its own."""
        close_owned((self.writer,))
        self.writer = None

    def close(self) -> None:
        """Close both ends."""
        self.handed_over()
        self.close_writer()


def open_input(path: str) -> Operation[ProcessInput]:
    """Open stdin by its path; "" is no input. Raises ContainerError."""
    try:
        if not path:
            return ProcessInput(Fd(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)))
        if not remembered_paths.is_fifo(path):
            sent = yield from sent_file(path, _READ)
            if sent is not None:
                return ProcessInput(sent, sent=True)
        return _open_fifo(path)
    except OSError as error:
        raise cannot_open(path, error) from None


def _open_fifo(path: str) -> ProcessInput:
    """Open both ends; neither open waits for the other end. Raises OSError."""
    reader = Fd(os.open(path, _READ))
    try:
        writer = Fd(os.open(path, _WRITE))
    except OSError:
        reader.close()
        raise
    os.set_blocking(reader.fileno(), True)
    return ProcessInput(reader, writer)
