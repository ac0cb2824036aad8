"""The numbers and layouts of WASI preview 1. Source: WASI legacy/preview1/docs.md and witx/typenames.witx."""

from __future__ import annotations

import errno
from struct import Struct

_ERRNO_NAMES = """
    E2BIG EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF EBADMSG EBUSY ECANCELED ECHILD
    ECONNABORTED ECONNREFUSED ECONNRESET EDEADLK EDESTADDRREQ EDOM EDQUOT EEXIST EFAULT EFBIG EHOSTUNREACH EIDRM
    EILSEQ EINPROGRESS EINTR EINVAL EIO EISCONN EISDIR ELOOP EMFILE EMLINK EMSGSIZE EMULTIHOP ENAMETOOLONG ENETDOWN
    ENETRESET ENETUNREACH ENFILE ENOBUFS ENODEV ENOENT ENOEXEC ENOLCK ENOLINK ENOMEM ENOMSG ENOPROTOOPT ENOSPC ENOSYS
    ENOTCONN ENOTDIR ENOTEMPTY ENOTRECOVERABLE ENOTSOCK ENOTSUP ENOTTY ENXIO EOVERFLOW EOWNERDEAD EPERM EPIPE EPROTO
    EPROTONOSUPPORT EPROTOTYPE ERANGE EROFS ESPIPE ESRCH ESTALE ETIMEDOUT ETXTBSY EXDEV
"""
"""The names of $errno in order, from 1."""

ERRNO = {getattr(errno, name): number for number, name in enumerate(_ERRNO_NAMES.split(), 1)}
"""WASI's errno for each of the kernel's."""

SUCCESS, BADF, INVAL, IO, ISDIR, NAMETOOLONG, NOTDIR, NOTSOCK, NOTSUP, PERM, SPIPE = (
    0, 8, 28, 29, 31, 37, 54, 57, 58, 63, 70,
)  # fmt: skip


class Errno(Exception):
    """A call failed with this errno of WASI."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


# $filetype
UNKNOWN, BLOCK_DEVICE, CHARACTER_DEVICE, DIRECTORY, REGULAR_FILE = 0, 1, 2, 3, 4
SOCKET_STREAM, SYMBOLIC_LINK = 6, 7

_FILETYPES = {
    0o02: CHARACTER_DEVICE, 0o04: DIRECTORY, 0o06: BLOCK_DEVICE, 0o10: REGULAR_FILE, 0o12: SYMBOLIC_LINK,
    0o14: SOCKET_STREAM,
}  # fmt: skip


def filetype(mode: int) -> int:
    """Return the $filetype of an st_mode; a FIFO has none."""
    return _FILETYPES.get(mode >> 12, UNKNOWN)


def filetype_of_entry(d_type: int) -> int:
    """Return the $filetype of a directory entry's d_type, whose numbers are those of the mode's upper bits."""
    return _FILETYPES.get(d_type, UNKNOWN)


# $fdflags
APPEND, DSYNC, NONBLOCK, RSYNC, SYNC = 1, 2, 4, 8, 16
FDFLAGS = 0x1F

# $oflags
CREAT, O_DIRECTORY, EXCL, TRUNC = 1, 2, 4, 8
OFLAGS = 0xF

# $lookupflags
SYMLINK_FOLLOW = 1

# $fstflags
ATIM, ATIM_NOW, MTIM, MTIM_NOW = 1, 2, 4, 8
FSTFLAGS = 0xF

# $rights
FD_READ, FD_SEEK, FD_TELL, FD_WRITE = 1 << 1, 1 << 2, 1 << 5, 1 << 6
FD_READDIR, PATH_FILESTAT_SET_SIZE, FD_FILESTAT_SET_SIZE = 1 << 14, 1 << 19, 1 << 22
ALL_RIGHTS = (1 << 30) - 1
_FROM_PATH_CREATE_DIRECTORY, _AFTER_PATH_UNLINK_FILE, _SOCKETS = 1 << 9, 1 << 27, 3 << 28

PREOPEN_RIGHTS = (_AFTER_PATH_UNLINK_FILE - _FROM_PATH_CREATE_DIRECTORY) & ~(
    PATH_FILESTAT_SET_SIZE | FD_FILESTAT_SET_SIZE
)
"""The rights for paths, times and listing, as wasmtime reports them: many guests compare with those."""
PREOPEN_INHERITING = ALL_RIGHTS & ~(_SOCKETS | PATH_FILESTAT_SET_SIZE)

# $whence
SET, CUR, END = 0, 1, 2

# $clockid
REALTIME, MONOTONIC, PROCESS_CPUTIME, THREAD_CPUTIME = 0, 1, 2, 3

# $eventtype, and $eventrwflags
CLOCK, READ, WRITE = 0, 1, 2
HANGUP = 1

SIZE = Struct("<I")
"""$size and pointers."""
FILESIZE = Struct("<Q")
"""$filesize, $timestamp."""
IOVEC = Struct("<II")
"""$iovec and $ciovec: buffer, length."""
PRESTAT = Struct("<B3xI")
"""$prestat of a folder: tag 0, length of its name."""
FDSTAT = Struct("<BxH4xQQ")
"""$fdstat: type, flags, rights, inherited rights."""
FILESTAT = Struct("<QQB7xQQQQQ")
"""$filestat: dev, ino, type, nlink, size, atim, mtim, ctim."""
DIRENT = Struct("<QQIB3x")
"""$dirent: next, ino, length of the name, type."""
SUBSCRIPTION = Struct("<QB7xI4xQQH6x")
"""$subscription: userdata, tag, clock id or descriptor, timeout, precision, flags."""
EVENT = Struct("<QHB5xQH6x")
"""$event: userdata, errno, type, bytes, flags."""
