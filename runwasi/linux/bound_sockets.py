"""Binds Unix sockets to their paths; imports next to nothing, since a shim's cold start needs it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.startup.thin_socket import socket


def listen_at(sock: socket, address: str, path: str, mode: int, backlog: int) -> int:
    """Listen on a new socket at an address, with these permissions from the beginning; return the descriptor.

    path is the address as the error names it. Closes the socket and raises OSError if it cannot be bound.
    """
    umask = os.umask(0o777 & ~mode)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, error.strerror, f"bind {path}") from None
    finally:
        os.umask(umask)
    sock.listen(backlog)
    return sock.detach()
