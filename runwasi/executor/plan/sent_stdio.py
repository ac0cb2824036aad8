"""Describes streams that are on their way to the process that is to have them.

To close a file may block as well, if its filesystem hangs, and it does in every process that has inherited the
descriptor. So a server leaves the descriptor in a socket that it has been sent through, and only the process with the
stream takes it out.
"""

from __future__ import annotations

from runwasi.engines.engine import Stdio
from runwasi.executor.errors import ContainerError
from runwasi.linux import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container


class SentStdio(Stdio):
    """Streams of which some are sockets, with the stream's descriptor in a message."""

    __slots__ = ("_sent",)

    def __init__(self, stdin: int, stdout: int, stderr: int, sent: Container[int]) -> None:
        super().__init__(stdin, stdout, stderr)
        self._sent = sent

    def received(self) -> tuple[int, ...]:
        """Return the descriptors in the order stdin, stdout, stderr, out of their sockets. To be called once."""
        return tuple(_received(fd) if fd in self._sent else fd for fd in self.fds())


def received(stdio: Stdio) -> tuple[int, ...]:
    """Return the descriptors of streams, whether they were sent or not."""
    return stdio.received() if isinstance(stdio, SentStdio) else stdio.fds()


def _received(socket: int) -> int:
    _, fds = sockets.receive_fds(socket)
    if not fds:
        raise ContainerError("the file for a stream is gone")
    return fds[0]
