"""Uses Unix sockets by descriptor: passes descriptors, reads peer credentials, listens and connects.

It uses thin_socket, the interpreter's C module: importing socket takes 2.5 ms, mostly for enumerations.
"""

from __future__ import annotations

import os
from struct import Struct, iter_unpack, pack

from runwasi.linux.fd import Fd
from runwasi.linux.libc import check, libc
from runwasi.startup import thin_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

UCRED = Struct("3i")  # struct ucred: pid, uid, gid
_SUN_PATH_MAX = 107  # man 7 unix: 108 bytes with the final zero
_MAX_FDS = 253  # SCM_MAX_FD
_MSG_CMSG_CLOEXEC = 0x40000000


class _Borrowed:
    """Use a descriptor as a socket object, without owning it, until the end of `with`."""

    __slots__ = ("_socket",)

    def __init__(self, fd: int) -> None:
        # Told the family and so on, it does not ask the kernel for them. Messages do not need them.
        self._socket = thin_socket.socket(thin_socket.AF_UNIX, thin_socket.SOCK_SEQPACKET, 0, fd)

    def __enter__(self) -> thin_socket.socket:
        return self._socket

    def __exit__(self, *exception: object) -> None:
        self._socket.detach()


def socket_pair(kind: int = thin_socket.SOCK_SEQPACKET) -> tuple[int, int]:
    """Make two connected unix sockets, close-on-exec; the default kind keeps message boundaries."""
    one, other = thin_socket.socketpair(thin_socket.AF_UNIX, kind | thin_socket.SOCK_CLOEXEC, 0)
    return one.detach(), other.detach()


def send_fds(socket: int, data: bytes, fds: Sequence[int]) -> None:
    """Send data, at least one byte, with copies of descriptors fds. Source: man 7 unix, SCM_RIGHTS."""
    rights = (thin_socket.SOL_SOCKET, thin_socket.SCM_RIGHTS, pack(f"{len(fds)}i", *fds))
    with _Borrowed(socket) as sock:
        sock.sendmsg((data,), (rights,) if fds else (), thin_socket.MSG_NOSIGNAL)


def send_fd(socket: int, fd: int, name: str) -> None:
    """Send a copy of descriptor fd with its name, as a console socket's listener expects it."""
    send_fds(socket, os.fsencode(name), (fd,))


def receive_fds(socket: int, size: int = 4096) -> tuple[bytes, list[int]]:
    """Receive up to size bytes, and the descriptors that came with them, made close-on-exec.

    No bytes mean that the other side has closed. Raises OSError, EMSGSIZE if something was cut off (then the
    received descriptors are closed).
    """
    space = thin_socket.CMSG_SPACE(_MAX_FDS * 4)
    with _Borrowed(socket) as sock:
        data, control, flags, _ = sock.recvmsg(size, space, _MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, payload in control:
        if level == thin_socket.SOL_SOCKET and kind == thin_socket.SCM_RIGHTS:
            fds += [fd for (fd,) in iter_unpack("i", payload[: len(payload) & ~3])]
    if flags & (thin_socket.MSG_CTRUNC | thin_socket.MSG_TRUNC):
        close_all(fds)
        raise OSError(90, os.strerror(90), "recvmsg")  # EMSGSIZE
    return data, fds


def close_all(fds: Iterable[int]) -> None:
    """Close every descriptor of fds."""
    for fd in fds:
        os.close(fd)


def peer_credentials(socket: int) -> tuple[int, int, int]:
    """Return the pid, uid and gid of the process at the other end, as of its connect or listen."""
    with _Borrowed(socket) as sock:
        pid, uid, gid = UCRED.unpack(
            sock.getsockopt(thin_socket.SOL_SOCKET, thin_socket.SO_PEERCRED, UCRED.size)
        )
    return pid, uid, gid


def listen(path: str, backlog: int = 16, mode: int = 0o600, kind: int = thin_socket.SOCK_STREAM) -> int:
    """Listen on a new socket at path, of any length, with the permissions mode from the beginning.

    Raises OSError, EADDRINUSE if the path exists.
    """
    sock = thin_socket.socket(thin_socket.AF_UNIX, kind | thin_socket.SOCK_CLOEXEC)
    with _Reachable(path) as address:
        return thin_socket.listen_at(sock, address, path, mode, backlog)


def accept(socket: int) -> int:
    """Accept the next connection of a listening socket; return a close-on-exec descriptor."""
    return check(libc.accept4(socket, None, None, thin_socket.SOCK_CLOEXEC), "accept4", socket)


def connect(path: str, kind: int = thin_socket.SOCK_STREAM, *, wait: bool = True) -> int:
    """Connect to the Unix socket at path, of any length. Raises OSError naming path.

    Without wait the descriptor is non-blocking, and BlockingIOError is raised if the backlog is full.
    """
    blocking = 0 if wait else thin_socket.SOCK_NONBLOCK
    sock = thin_socket.socket(thin_socket.AF_UNIX, kind | thin_socket.SOCK_CLOEXEC | blocking)
    with _Reachable(path) as address:
        try:
            sock.connect(address)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, error.strerror, f"connect {path}") from None
    return sock.detach()


class _Reachable:
    """A path that fits into sun_path: a long one goes through a descriptor of its directory."""

    __slots__ = ("_directory", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._directory: Fd | None = None

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _SUN_PATH_MAX:
            return self._path
        directory, name = os.path.split(self._path)
        self._directory = Fd(os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        address = f"/proc/self/fd/{self._directory.fileno()}/{name}"
        if len(os.fsencode(address)) > _SUN_PATH_MAX:
            self._directory.close()
            raise OSError(36, os.strerror(36), self._path)  # ENAMETOOLONG
        return address

    def __exit__(self, *exception: object) -> None:
        if self._directory is not None:
            self._directory.close()
