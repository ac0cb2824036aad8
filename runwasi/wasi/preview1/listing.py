"""Lists a folder piece by piece, as the kernel does: a long one is neither kept in memory nor read twice.

A cookie is the kernel's own position of the next entry. Source: man 2 getdents64.
"""

from __future__ import annotations

import os
from struct import Struct

from runwasi.linux.file_calls import getdents64
from runwasi.wasi.preview1.abi import DIRENT, UNKNOWN, filetype, filetype_of_entry

_ENTRY = Struct(
    "<QQHB"
)  # struct linux_dirent64: d_ino, d_off, d_reclen, d_type, and the name that ends in a NUL


class Listing:
    """Entries of a folder, starting at any cookie; 0 is the first."""

    __slots__ = ("_at", "_cookie", "_entries", "fd")

    def __init__(self, fd: int) -> None:
        """Own `fd`, which is open for reading; `close` closes it."""
        self.fd = fd
        self._entries = b""
        self._at = 0
        self._cookie = 0

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

    def fill(self, buffer: memoryview, cookie: int) -> int:
        """Write the entries after a cookie as $dirent and name, the last perhaps cut; return the number of bytes.

        Less than the buffer's size means that there are no more. Raises OSError.
        """
        if cookie != self._cookie or not cookie:
            self._seek(cookie)
        at, size = 0, len(buffer)
        while at < size and (self._at < len(self._entries) or self._read()):
            inode, following, length, kind = _ENTRY.unpack_from(self._entries, self._at)
            start = self._at + _ENTRY.size
            name = self._entries[start : self._entries.index(0, start)]
            entry = (
                DIRENT.pack(following, inode, len(name), filetype_of_entry(kind) or self._type(name)) + name
            )
            if len(entry) > size - at:
                buffer[at:] = entry[: size - at]
                return size
            buffer[at : at + len(entry)] = entry
            at += len(entry)
            self._at += length
            self._cookie = following
        return at

    def _seek(self, cookie: int) -> None:
        os.lseek(self.fd, cookie, os.SEEK_SET)
        self._entries, self._at, self._cookie = b"", 0, cookie

    def _read(self) -> bool:
        self._entries, self._at = getdents64(self.fd), 0
        return bool(self._entries)

    def _type(self, name: bytes) -> int:
        """Look up the type of an entry that the file system did not report."""
        try:
            return filetype(os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode)
        except OSError:  # it has been removed since
            return UNKNOWN
