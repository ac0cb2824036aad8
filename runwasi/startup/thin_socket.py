"""The C half of `socket`, without the other half, which imports `selectors` and makes enumerations: 4 ms.

Its `socket` objects have no accept, no makefile and no context manager. `listen_at` is here for a shim's cold start,
which imports nothing else that could hold it.
"""

from __future__ import annotations

import os
from _socket import (
    AF_INET,
    AF_UNIX,
    CMSG_SPACE,
    MSG_CTRUNC,
    MSG_NOSIGNAL,
    MSG_TRUNC,
    SCM_RIGHTS,
    SHUT_RD,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
    socketpair,
)

__all__ = (
    "AF_INET",
    "AF_UNIX",
    "CMSG_SPACE",
    "MSG_CTRUNC",
    "MSG_NOSIGNAL",
    "MSG_TRUNC",
    "SCM_RIGHTS",
    "SHUT_RD",
    "SOCK_CLOEXEC",
    "SOCK_DGRAM",
    "SOCK_NONBLOCK",
    "SOCK_SEQPACKET",
    "SOCK_STREAM",
    "SOL_SOCKET",
    "SO_PEERCRED",
    "listen_at",
    "socket",
    "socketpair",
)


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
