"""The C half of `socket`, without the other half, which imports `selectors` and makes enumerations: 4 ms.

Its `socket` objects have no accept, no makefile and no context manager.
"""

from __future__ import annotations

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
    "socket",
    "socketpair",
)
