"""Maps bytes of a file that processes share across a fork, without a descriptor that stays open.

An mmap.mmap keeps one. If a child closes all its descriptors, and later collects such an object of its parent as
garbage, the object closes whatever has that number by then. Only a fork that is meant to shares the bytes: another
one could write to them, and a file that was removed would take its space for as long as that process lives.
"""

from __future__ import annotations

from runwasi.linux.libc import failure, libc
from runwasi.startup.thin_ctypes import c_char, c_int, c_long, c_ulong, c_void_p, get_errno

PROT_READ, PROT_WRITE, MAP_SHARED = 1, 2, 1
MADV_DONTFORK, MADV_DOFORK = 10, 11
_FAILED = c_void_p(-1).value

libc.mmap.argtypes = (c_void_p, c_ulong, c_int, c_int, c_int, c_long)
libc.mmap.restype = c_void_p
libc.munmap.argtypes = (c_void_p, c_ulong)
libc.madvise.argtypes = (c_void_p, c_ulong, c_int)


class SharedBytes:
    """The first bytes of a file, mapped shared until nothing refers to this object. `bytes` must not outlive it.

    No fork has them until `share` says so.
    """

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
        self.share(with_forks=False)

    def share(self, *, with_forks: bool) -> None:
        """Share the bytes with the forks that follow, or keep them from those. Raises OSError.

        Source: man 2 madvise.
        """
        if libc.madvise(self._address, self._size, MADV_DOFORK if with_forks else MADV_DONTFORK):
            raise failure(get_errno(), "madvise", "a shared file")

    def __del__(self) -> None:
        if self._address is not None:
            libc.munmap(self._address, self._size)
