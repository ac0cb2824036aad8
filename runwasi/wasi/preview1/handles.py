"""The objects behind a guest's descriptors: files, streams and folders.

Each handle owns a descriptor of this process, whose number the guest never learns.
"""

from __future__ import annotations

import errno
import os
from fcntl import F_SETFL, fcntl, ioctl
from select import POLLIN, POLLOUT, poll

from runwasi.wasi.filesystem.confinement import inherited, open_confined
from runwasi.wasi.preview1 import abi
from runwasi.wasi.preview1.abi import BADF, INVAL, SPIPE, Errno
from runwasi.wasi.preview1.listing import Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Buffers = Sequence[memoryview]
    Fdstat = tuple[int, int, int, int]
    """Type, flags, rights, inherited rights."""

FIONREAD = 0x541B  # asm-generic/ioctls.h; in Python only `termios` has it

_SMALL = 8192
"""The most bytes that are faster to read and copy than to read into the guest's buffer."""

_SYNCHRONOUS = abi.DSYNC | abi.RSYNC | abi.SYNC


class Handle:
    """The object behind a descriptor. A method that a subclass does not define fails with EBADF.

    fd      the descriptor here
    fdstat  its type, flags and rights
    name    the guest's name of a preopened folder, None for anything else
    """

    __slots__ = ("fd", "fdstat")

    name: bytes | None = None

    def __init__(self, fd: int, fdstat: Fdstat) -> None:
        self.fd = fd
        self.fdstat = fdstat

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)

    def read(self, _buffers: Buffers) -> int:
        """Read at the current position into the buffers; return the number of bytes."""
        raise Errno(BADF)

    def write(self, _buffers: Buffers) -> int:
        """Write at the current position; return the number of bytes written."""
        raise Errno(BADF)

    def read_at(self, _buffers: Buffers, _offset: int) -> int:
        """Read from an offset."""
        raise Errno(BADF)

    def write_at(self, _buffers: Buffers, _offset: int) -> int:
        """Write at an offset."""
        raise Errno(BADF)

    def seek(self, _offset: int, _whence: int) -> int:
        """Move the position, and return it."""
        raise Errno(BADF)

    def tell(self) -> int:
        """Return the current position."""
        raise Errno(BADF)

    def file(self) -> File:
        """Return itself if it is a file."""
        raise Errno(BADF)

    def syncable(self) -> int:
        """Return the descriptor that fsync takes."""
        raise Errno(BADF)

    def event(self, _wanted: int) -> int:
        """Return the event for poll(2), POLLIN or POLLOUT as wanted; 0 if it never has to wait."""
        raise Errno(BADF)

    def available(self) -> int:
        """Return the number of bytes that can be read; 1 if it is unknown."""
        raise Errno(BADF)

    def set_flags(self, _flags: int) -> None:
        """Change its $fdflags."""
        raise Errno(BADF)

    def _note_flags(self, flags: int) -> None:
        filetype, _, rights, inheriting = self.fdstat
        self.fdstat = (filetype, flags, rights, inheriting)


class File(Handle):
    """A regular file, or a seekable device.

    The position is kept here: a seek costs no system call, and reading is pread(2).
    """

    __slots__ = ("_appends", "position")

    def __init__(self, fd: int, filetype: int, flags: int, rights: int) -> None:
        self.fd = fd
        self.fdstat = (filetype, flags, rights, rights)
        self.position = 0
        self._appends = flags & abi.APPEND

    def read(self, buffers: Buffers) -> int:
        """Read at the position, and advance it."""
        size = self.read_at(buffers, self.position)
        self.position += size
        return size

    def write(self, buffers: Buffers) -> int:
        """Write at the position, or at the end with APPEND."""
        if self._appends:
            size = os.writev(self.fd, buffers)
            self.position = os.lseek(self.fd, 0, os.SEEK_CUR)
            return size
        size = self.write_at(buffers, self.position)
        self.position += size
        return size

    def read_at(self, buffers: Buffers, offset: int) -> int:
        """Read from an offset and leave the position."""
        if len(buffers) == 1 and len(buffers[0]) <= _SMALL:
            content = os.pread(self.fd, len(buffers[0]), offset)
            buffers[0][: len(content)] = content
            return len(content)
        return os.preadv(self.fd, buffers, offset)

    def write_at(self, buffers: Buffers, offset: int) -> int:
        """Write at an offset, or at the end with APPEND as Linux does, and leave the position."""
        if len(buffers) == 1:
            return os.pwrite(self.fd, buffers[0], offset)  # faster
        return os.pwritev(self.fd, buffers, offset)

    def seek(self, offset: int, whence: int) -> int:
        """Move the position, which may lie beyond the end."""
        if whence == abi.CUR:
            offset += self.position
        elif whence == abi.END:
            offset += os.lseek(self.fd, 0, os.SEEK_END)
        elif whence != abi.SET:
            raise Errno(INVAL)
        if not 0 <= offset < 1 << 63:
            raise Errno(INVAL)
        self.position = offset
        return offset

    def tell(self) -> int:
        """Return the position."""
        return self.position

    def file(self) -> File:
        """Return itself."""
        return self

    def syncable(self) -> int:
        """Return its descriptor."""
        return self.fd

    def event(self, _wanted: int) -> int:
        """Return 0: a file never has to wait."""
        return 0

    def available(self) -> int:
        """Return the number of bytes up to its end."""
        return max(0, os.fstat(self.fd).st_size - self.position)

    def set_flags(self, flags: int) -> None:
        """Change APPEND and NONBLOCK; the other flags stay as they were opened."""
        before = self.fdstat[1]
        if (flags ^ before) & _SYNCHRONOUS:
            raise Errno(INVAL)
        if flags != before:
            native = os.O_APPEND if flags & abi.APPEND else 0
            fcntl(self.fd, F_SETFL, native | os.O_NONBLOCK if flags & abi.NONBLOCK else native)
            self._note_flags(flags)
            self._appends = flags & abi.APPEND


class Stream(Handle):
    """A FIFO, a terminal, or anything else without a position; its rights say so."""

    __slots__ = ()

    def __init__(self, fd: int, filetype: int, flags: int, rights: int) -> None:
        rights &= ~(abi.FD_SEEK | abi.FD_TELL)
        super().__init__(fd, (filetype, flags, rights, rights))

    def read(self, buffers: Buffers) -> int:
        """Read what is available; wait for at least one byte unless it is NONBLOCK."""
        while True:
            try:
                return os.readv(self.fd, buffers)
            except BlockingIOError:
                if self.fdstat[1] & abi.NONBLOCK:
                    raise
                self._wait(POLLIN)

    def write(self, buffers: Buffers) -> int:
        """Write, and wait for room unless it is NONBLOCK."""
        while True:
            try:
                if len(buffers) == 1:
                    return os.write(self.fd, buffers[0])  # faster
                return os.writev(self.fd, buffers)
            except BlockingIOError:
                if self.fdstat[1] & abi.NONBLOCK:
                    raise
                self._wait(POLLOUT)

    def _wait(self, event: int) -> None:
        """Wait with poll(2): another process, not the guest, has made the open file that we share non-blocking."""
        waiter = poll()
        waiter.register(self.fd, event)
        waiter.poll()

    def read_at(self, _buffers: Buffers, _offset: int) -> int:
        """Fail, as it has no offsets."""
        raise Errno(SPIPE)

    def write_at(self, _buffers: Buffers, _offset: int) -> int:
        """Fail, as it has no offsets."""
        raise Errno(SPIPE)

    def seek(self, _offset: int, _whence: int) -> int:
        """Fail, as it has no position."""
        raise Errno(SPIPE)

    def tell(self) -> int:
        """Fail, as it has no position."""
        raise Errno(SPIPE)

    def event(self, wanted: int) -> int:
        """Return the wanted event."""
        return wanted

    def available(self) -> int:
        """Return the number of bytes in the pipe or terminal."""
        try:
            return int.from_bytes(ioctl(self.fd, FIONREAD, bytes(4)), "little")
        except OSError:
            return 1

    def set_flags(self, flags: int) -> None:
        """Change NONBLOCK."""
        os.set_blocking(self.fd, not flags & abi.NONBLOCK)
        self._note_flags(flags)


class Standard(Stream):
    """Descriptor 0, 1 or 2 of the container."""

    __slots__ = ("_event",)

    def __init__(self, fd: int, right: int, event: int) -> None:
        super().__init__(fd, abi.CHARACTER_DEVICE if os.isatty(fd) else abi.UNKNOWN, 0, right)
        self._event = event

    def close(self) -> None:
        """Leave the process's own descriptor open."""

    def event(self, wanted: int) -> int:
        """Return the event that its direction allows."""
        if wanted != self._event:
            raise Errno(BADF)
        return wanted

    def set_flags(self, _flags: int) -> None:
        """Fail: the flags would change for every process that shares it."""
        raise Errno(BADF)


class Input(Standard):
    """Descriptor 0."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(0, abi.FD_READ, POLLIN)

    def write(self, _buffers: Buffers) -> int:
        """Fail, even if it is a terminal, which could be written to."""
        raise Errno(BADF)


class Output(Standard):
    """Descriptor 1 or 2."""

    __slots__ = ()

    def __init__(self, fd: int) -> None:
        super().__init__(fd, abi.FD_WRITE, POLLOUT)

    def read(self, _buffers: Buffers) -> int:
        """Fail, even if it is a terminal, which could be read."""
        raise Errno(BADF)


class Folder(Handle):
    """A folder: a preopened one, with a `name`, or one that the guest opened."""

    __slots__ = ("_listing", "confinement", "name")

    def __init__(self, fd: int, confinement: int, rights: int = 0, name: bytes | None = None) -> None:
        if name is None:
            rights &= ~(abi.FD_SEEK | abi.FD_FILESTAT_SET_SIZE | abi.PATH_FILESTAT_SET_SIZE)
            super().__init__(fd, (abi.DIRECTORY, 0, rights, rights))
        else:
            super().__init__(fd, (abi.DIRECTORY, 0, abi.PREOPEN_RIGHTS, abi.PREOPEN_INHERITING))
        self.confinement = confinement
        self.name = name
        self._listing: Listing | None = None

    def close(self) -> None:
        """Close it and its listing."""
        if self._listing is not None:
            self._listing.close()
        os.close(self.fd)

    def open(self, path: bytes, flags: int, mode: int = 0) -> int:
        """Open the file at a path. Raises OSError."""
        return open_confined(self.fd, path, flags, mode, self.confinement)

    def listing(self) -> Listing:
        """Return its listing, with its own descriptor: a preopened folder's descriptor cannot be read."""
        if self._listing is None:
            self._listing = Listing(self.open(b".", os.O_RDONLY | os.O_DIRECTORY))
        return self._listing

    def syncable(self) -> int:
        """Return a descriptor that can be read."""
        return self.listing().fd


def opened(fd: int, mode: int, flags: int, rights: int, confinement: int) -> Handle:
    """Make the handle of a newly opened descriptor from its st_mode and its folder's confinement."""
    filetype = abi.filetype(mode)
    if filetype == abi.REGULAR_FILE:
        return File(fd, filetype, flags, rights)
    if filetype == abi.DIRECTORY:
        return Folder(fd, inherited(confinement), rights)
    return (File if _has_positions(fd) else Stream)(fd, filetype, flags, rights)


def _has_positions(fd: int) -> bool:
    try:
        os.lseek(fd, 0, os.SEEK_CUR)
    except OSError as error:
        if error.errno != errno.ESPIPE:
            raise
        return False
    return True
