"""Receives a descriptor that a program sends to a Unix socket."""

from __future__ import annotations

import array
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def receiving(path: Path) -> Iterator[Callable[[], tuple[bytes, int]]]:
    """Listen at path; the function accepts one client, and returns its message and the descriptor with it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def receive() -> tuple[bytes, int]:
            connection, _ = listener.accept()
            with connection:
                message, control, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
            (descriptor,) = array.array("i", control[0][2])
            return message, descriptor

        yield receive
