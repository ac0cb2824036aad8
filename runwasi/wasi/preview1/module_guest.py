"""A guest of WASI preview 1: its memory, its descriptors, its arguments and environment."""

from __future__ import annotations

import errno
import os

from runwasi.wasi.filesystem.confinement import confinements
from runwasi.wasi.preview1 import abi
from runwasi.wasi.preview1.abi import BADF, IOVEC, Errno
from runwasi.wasi.preview1.handles import Folder, Input, Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from runwasi.wasi.preview1.handles import Handle

_MOST_BUFFERS = 1024
"""IOV_MAX: the most that the kernel takes in one call; the guest's next call handles the rest."""
_PATH_MAX = 4096


class Exit(Exception):
    """The guest called proc_exit."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class OutOfBounds(Exception):
    """A pointer lies outside the guest's memory."""


class Handles(dict[int, "Handle"]):
    """The handles of a guest's descriptors; any other number raises EBADF."""

    def __missing__(self, fd: int) -> NoReturn:
        raise Errno(BADF)


class Guest:
    """One instance, as its imported functions see it.

    view     its memory at its size when last looked at; it only ever grows
    handles  the handles of its descriptors, by number
    args     argv, args[0] included
    env      "NAME=value"

    A function that touches an address beyond the view fails (OutOfBounds, IndexError, struct.error) and is called
    again if the memory has grown since. So each function checks every pointer before it does anything else.
    """

    __slots__ = ("_lowest", "args", "env", "handles", "view")

    def __init__(self) -> None:
        self.view = memoryview(bytearray())
        self.args: Sequence[bytes] = ()
        self.env: Sequence[bytes] = ()
        self.handles = Handles()
        self._lowest = 0

    def begin(self, args: Sequence[bytes], env: Sequence[bytes], preopens: Sequence[tuple[str, str]]) -> None:
        """Set its arguments, environment, standard streams (this process's 0, 1 and 2) and (folder, guest's name)s.

        Raises OSError when a folder cannot be opened.
        """
        self.args = args
        self.env = env
        self.handles[0], self.handles[1], self.handles[2] = Input(), Output(1), Output(2)
        self._lowest = 3
        for folder, name, confined in confinements(preopens):
            fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.add(Folder(fd, confined, name=os.fsencode(name)))

    # --- memory

    def buffers(self, iovs: int, count: int) -> Sequence[memoryview]:
        """Return the parts of memory that an array of iovecs describes."""
        if count != 1:
            return self._buffers(iovs, count)
        view = self.view
        start, length = IOVEC.unpack_from(view, iovs)
        end = start + length
        if end > len(view):
            raise OutOfBounds
        return (view[start:end],)

    def _buffers(self, iovs: int, count: int) -> Sequence[memoryview]:
        view = self.view
        size = len(view)
        if iovs + count * IOVEC.size > size:
            raise OutOfBounds
        buffers = []
        for at in range(iovs, iovs + min(count, _MOST_BUFFERS) * IOVEC.size, IOVEC.size):
            start, length = IOVEC.unpack_from(view, at)
            end = start + length
            if end > size:
                raise OutOfBounds
            buffers.append(view[start:end])
        return buffers

    def part(self, start: int, size: int) -> memoryview:
        """Return a part of memory."""
        end = start + size
        if end > len(self.view):
            raise OutOfBounds
        return self.view[start:end]

    def path(self, start: int, size: int) -> bytes:
        """Read a path: any bytes, UTF-8 or not, as for the kernel."""
        view = self.view
        end = start + size
        if end > len(view):
            raise OutOfBounds
        if size >= _PATH_MAX:
            raise Errno(abi.NAMETOOLONG)
        path = view[start:end].tobytes()
        if 0 in path:
            raise OSError(errno.EINVAL, "the path contains a NUL")
        return path

    # --- descriptors

    def add(self, handle: Handle) -> int:
        """Add a handle, and return its descriptor, the lowest free number."""
        handles, number = self.handles, self._lowest
        while number in handles:
            number += 1
        handles[number] = handle
        self._lowest = number + 1
        return number

    def remove(self, fd: int) -> Handle:
        """Remove a descriptor, and return its handle, still open."""
        handle = self.handles[fd]
        del self.handles[fd]
        if fd < self._lowest:
            self._lowest = fd
        return handle

    def folder(self, fd: int) -> Folder:
        """Return the folder of a descriptor."""
        handle = self.handles[fd]
        if not isinstance(handle, Folder):
            raise Errno(BADF)
        return handle
