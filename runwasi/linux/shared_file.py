"""Maps bytes of a file that processes share across a fork, without a descriptor that stays open.

An mmap.mmap keeps one. If a child closes all its descriptors, and later collects such an object of its parent as
garbage, the object closes whatever has that number by then.
"""

from __future__ import annotations

from runwasi.linux.libc import failure, libc
from runwasi.startup.thin_ctypes import c_char, c_int, c_long, c_ulong, c_void_p, get_errno

PROT_READ, PROT_WRITE, MAP_SHARED = 1, 2, 1
_FAILED = c_void_p(-1).value

libc.mmap.argtypes = (c_void_p, c_ulong, c_int, c_int, c_int, c_long)
libc.mmap.restype = c_void_p
libc.munmap.argtypes = (c_void_p, c_ulong)


class SharedBytes:
    """The first bytes of a file, mapped shared until nothing refers to this object. `bytes` must not outlive it."""

    __slots__ = ("_address", "_size", "bytes")

    def __init__(self, fd: int, size: int) -> None:
        """Map size bytes of the open file fd, which may then be closed. Raises OSError. Source: man 2 mmap."""
        self._address: int | None = None
        self._size = size
        address: int = libc.mmap(None, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if address == _FAILED:
            raise failure(get_errno(), "mmap", fd)
        self._address = address
        self.bytes = (c_char * size).from_address(address)

    def __del__(self) -> None:
        if self._address is not None:
            libc.munmap(self._address, self._size)
