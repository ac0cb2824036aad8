"""Makes file calls that `os` lacks: lists a folder from any position, sets one of two times."""

from __future__ import annotations

from struct import Struct

from runwasi.linux.libc import SYS_GETDENTS64, failure
from runwasi.startup.thin_ctypes import (
    CDLL,
    addressof,
    c_char_p,
    c_int,
    c_long,
    c_void_p,
    create_string_buffer,
    get_errno,
)

_AT_SYMLINK_NOFOLLOW = 0x100
_AT_EMPTY_PATH = 0x1000
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2

_timespecs = Struct("<qqqq").pack

_getdents64 = CDLL(None, use_errno=True).syscall
_getdents64.argtypes = (c_long, c_long, c_void_p, c_long)
_getdents64.restype = c_long
_utimensat = CDLL(None, use_errno=True).utimensat
_utimensat.argtypes = (c_int, c_char_p, c_char_p, c_int)

_entries = create_string_buffer(32 << 10)


def getdents64(fd: int) -> bytes:
    """Read the next entries of a folder, each a struct linux_dirent64; none at the end.

    Raises OSError. Source: man 2 getdents64.
    """
    size: int = _getdents64(SYS_GETDENTS64, fd, addressof(_entries), len(_entries))
    if size < 0:
        raise failure(get_errno(), "getdents64", fd)
    return bytes(memoryview(_entries)[:size])


def utimensat(fd: int, name: bytes, accessed: tuple[int, int], modified: tuple[int, int]) -> None:
    """Set the times of a name in a folder, without following it; without a name, those of the descriptor.

    Times are (seconds, nanoseconds); the latter may be UTIME_NOW or UTIME_OMIT. The descriptor may be
    O_PATH. Raises OSError. Source: man 2 utimensat.
    """
    flags = _AT_SYMLINK_NOFOLLOW if name else _AT_EMPTY_PATH
    if _utimensat(fd, name, _timespecs(*accessed, *modified), flags) != 0:
        raise failure(get_errno(), "utimensat", name or fd)
