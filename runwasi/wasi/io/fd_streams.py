"""Streams over file descriptors: pipes and terminals without a position, and files with one."""

from __future__ import annotations

import os
import select

from runwasi.wasi.io.poll import Pollable
from runwasi.wasi.io.streams import CHUNK, InputStream, OutputStream, closed, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.wasi.component.interface import Waiting


def available(receive: Callable[[], bytes]) -> bytes:
    """Return the bytes that a call receives, b"" if it would block. Raises the stream's errors, at its end too."""
    try:
        data = receive()
    except BlockingIOError:
        return b""
    except OSError as error:
        raise failed(error) from error
    if not data:
        raise closed()
    return data


class DescriptorInput(InputStream):
    """Reads a borrowed descriptor, blocking or not, and never blocks itself."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def read(self, length: int) -> bytes:
        """Return bytes that are available."""
        if not length or not self.subscribe().ready():
            return b""
        return available(lambda: os.read(self.fd, min(length, CHUNK)))

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready when poll(2) says so."""
        return Pollable(self.fd, select.POLLIN)


class DescriptorOutput(OutputStream):
    """Writes to a borrowed descriptor and blocks, so that nothing is ever buffered."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._broken = False

    def check_write(self) -> int:
        """Return CHUNK if poll(2) says that there is room, 0 otherwise."""
        if self._broken:
            raise closed()
        return CHUNK if self.subscribe().ready() else 0

    def write(self, contents: bytes) -> None:
        """Write all of it."""
        if self._broken:
            raise closed()
        rest = memoryview(contents)
        try:
            while rest:
                try:
                    rest = rest[os.write(self.fd, rest) :]
                except BlockingIOError:
                    select.select((), (self.fd,), ())
        except OSError as error:
            self._broken = True
            raise failed(error) from error

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready when poll(2) says so, which includes a closed reading end."""
        return Pollable(self.fd, select.POLLOUT)

    def blocking_write_and_flush(self, contents: bytes) -> Waiting[None]:
        """Write; there is nothing to flush, and the write itself waits."""
        self.write(contents)
        return
        yield  # a generator, as every function that may wait


class FileInput(InputStream):
    """Reads a file from a position."""

    def __init__(self, fd: int, position: int) -> None:
        self._fd = fd
        self._position = position

    def read(self, length: int) -> bytes:
        """Return the next bytes."""
        try:
            data = os.pread(self._fd, min(length, CHUNK), self._position)
        except (OSError, OverflowError) as error:
            raise failed(error) from error
        if not data and length:
            raise closed()
        self._position += len(data)
        return data

    def drop(self) -> None:
        """Close it."""
        os.close(self._fd)


class FileOutput(OutputStream):
    """Writes a file from a position, or always at its end (None)."""

    def __init__(self, fd: int, position: int | None) -> None:
        self._fd = fd
        self._position = position

    def write(self, contents: bytes) -> None:
        """Write all of it."""
        rest = memoryview(contents)
        try:
            while rest:
                if self._position is None:
                    written = os.pwritev(self._fd, (rest,), 0, os.RWF_APPEND)
                else:
                    written = os.pwrite(self._fd, rest, self._position)
                    self._position += written
                rest = rest[written:]
        except (OSError, OverflowError) as error:
            raise failed(error) from error

    def drop(self) -> None:
        """Close it."""
        os.close(self._fd)
