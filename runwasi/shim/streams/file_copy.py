"""Copies a terminal's output into a file, in a process of its own: the file's filesystem may hang.

The process goes on when the server is gone, until all that has been written is in the file.
"""

from __future__ import annotations

import os

from runwasi.linux import processes, sockets
from runwasi.linux.fd import Fd
from runwasi.shim.streams.output_reader import SIGTERM, OutputReader
from runwasi.startup.thin_signal import SIG_IGN, set_wakeup_fd, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.streams.outputs import SentFile

_SIZE = 32 << 10


class FileCopy(OutputReader):
    """A process that appends what is written to stdout to a file, until the pipe is closed."""

    def __init__(self, reactor: Reactor, file: SentFile) -> None:
        assert file.fd is not None
        reading, writing = map(Fd, os.pipe2(os.O_CLOEXEC))
        with reading, file.fd as socket:
            child = processes.fork_into(processes.CLONE_CLEAR_SIGHAND)
            if child is None:
                _copy(reading.fileno(), socket.fileno())
        super().__init__(reactor, writing, None, Fd(child.pidfd))


def _copy(pipe: int, socket: int) -> NoReturn:
    """Copy in the new process, to the end of the pipe."""
    try:
        signal(SIGTERM, SIG_IGN)  # which asks it to end: it does with its input
        set_wakeup_fd(-1)
        processes.close_fds_except({0, 1, 2, pipe, socket})
        _, (file,) = sockets.receive_fds(socket)
        while data := os.read(pipe, _SIZE):
            while data:
                data = data[os.write(file, data) :]
    finally:
        os._exit(0)
