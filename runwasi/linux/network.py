"""Brings up the loopback interface of this process's network namespace."""

from __future__ import annotations

from fcntl import ioctl
from struct import Struct, unpack_from

from runwasi.startup import thin_socket

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914  # linux/sockios.h
_IFF_UP = 1
IFREQ = Struct("16sh22x")  # struct ifreq: the name, the flags, the rest of the union


def loopback_up() -> None:
    """Bring the loopback interface of this network namespace up; needs CAP_NET_ADMIN in it."""
    sock = thin_socket.socket(thin_socket.AF_INET, thin_socket.SOCK_DGRAM | thin_socket.SOCK_CLOEXEC)
    try:
        reply = ioctl(sock.fileno(), _SIOCGIFFLAGS, IFREQ.pack(b"lo", 0))
        (flags,) = unpack_from("h", reply, 16)
        if not flags & _IFF_UP:
            ioctl(sock.fileno(), _SIOCSIFFLAGS, IFREQ.pack(b"lo", flags | _IFF_UP))
    except OSError as error:
        raise OSError(error.errno, error.strerror, "bring up lo") from None
    finally:
        sock.close()
