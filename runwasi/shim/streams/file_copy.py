"""Copies a terminal's output into a file, in a process of its own: the file's filesystem may hang.

The process goes on when the server is gone, until all that has been written is in the file; after a Delete, it has
12 seconds for the rest, like a logger. If it cannot write, it says why in the pod's log, and ends.
"""

from __future__ import annotations

import os

from runwasi.executor.undo import Undo
from runwasi.linux import processes, sockets
from runwasi.linux.fd import Fd
from runwasi.shim.streams.output_reader import SIGTERM, OutputReader
from runwasi.startup.thin_signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask, set_wakeup_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from runwasi.linux.processes import Child
    from runwasi.shim.server.log import Log
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.streams.outputs import SentFile

_SIZE = 32 << 10


class FileCopy(OutputReader):
    """A process that appends what is written to stdout to a file, until the pipe is closed."""

    def __init__(self, reactor: Reactor, file: SentFile, path: str, log: Log) -> None:
        assert file.fd is not None
        reading, writing = map(Fd, os.pipe2(os.O_CLOEXEC))
        with Undo() as undo:
            undo.add(writing.close)
            with reading, file.fd as socket:
                child = _fork()
                if child is None:
                    _copy(reading.fileno(), socket.fileno(), path, log)
            pidfd = Fd(child.pidfd)
            undo.add(pidfd.close)
            super().__init__(reactor, writing, None, pidfd)


def _fork() -> Child | None:
    """Fork a process that SIGTERM, which asks it to end, never ends: it ends with its input."""
    mask = pthread_sigmask(SIG_BLOCK, (SIGTERM,))
    try:
        child = processes.fork_into(processes.CLONE_CLEAR_SIGHAND)
    except OSError:
        pthread_sigmask(SIG_SETMASK, mask)
        raise
    if child is not None:
        pthread_sigmask(SIG_SETMASK, mask)
    return child


def _copy(pipe: int, socket: int, path: str, log: Log) -> NoReturn:
    """Copy in the new process, to the end of the pipe."""
    try:
        set_wakeup_fd(-1)
        processes.close_fds_except({0, 1, 2, pipe, socket, log.fileno()})
        _, (file,) = sockets.receive_fds(socket)
        while data := os.read(pipe, _SIZE):
            while data:
                data = data[os.write(file, data) :]
    except OSError as error:
        log.error(f"write {path}: {error.strerror}: the terminal's further output is lost")
    finally:
        os._exit(0)
