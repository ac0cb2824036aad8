"""Bytes of a file that processes share across a fork, without a descriptor that stays open.

An mmap.mmap keeps one. A child that has closed its descriptors would close another's of the same number whenever such
an object of its parent, garbage in the child, is collected.
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
    """The first bytes of a file, mapped until nothing refers to this object. Use `bytes` only as long as it lives."""

    __slots__ = ("_address", "_size", "bytes")

    def __init__(self, fd: int, size: int) -> None:
        """Map so many bytes of an open file, which may be closed then. Raises OSError. Source: man 2 mmap."""
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
