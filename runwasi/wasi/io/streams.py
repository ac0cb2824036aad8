"""wasi:io/error and wasi:io/streams: the behaviour that all streams share."""

from __future__ import annotations

from runwasi.wasi.component.interface import GuestFault, Interface, Resource
from runwasi.wasi.component.values import Err
from runwasi.wasi.io.poll import Pollable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.wasi.component.interface import Waiting

error = Interface("wasi:io/error")
streams = Interface("wasi:io/streams")

CHUNK = 65536
"""The most bytes that one read or write moves; more would only be copied more often."""


@error.resource("error", "io-error")
class IoError(Resource):
    """Why a stream's last operation failed."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause

    def to_debug_string(self) -> str:
        """Describe the failure for a log."""
        return str(self.cause)


def closed() -> Err:
    """Return the stream-error of a stream that has ended or failed before."""
    return Err(("closed", None))


def failed(cause: Exception) -> Err:
    """Return the stream-error of an operation that has just failed."""
    return Err(("last-operation-failed", IoError(cause)))


def too_long() -> GuestFault:
    """Return the trap for a guest that writes more than it may."""
    return GuestFault("wasi:io/streams: more bytes than check-write allowed")


@streams.resource("input-stream")
class InputStream(Resource):
    """Bytes for the guest. A subclass defines `read` and, if reading may have to wait, `subscribe`."""

    def read(self, length: int) -> bytes:
        """Return up to `length` bytes, none if none are available yet. Raises closed() at the end."""
        raise NotImplementedError

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready as soon as `read` would return bytes or raise."""
        return Pollable()

    def blocking_read(self, length: int) -> Waiting[bytes]:
        """Read, and wait for at least one byte."""
        while not (data := self.read(length)) and length:
            yield (self.subscribe(),)
        return data

    def skip(self, length: int) -> int:
        """Read and discard; return the number of bytes."""
        return len(self.read(length))

    def blocking_skip(self, length: int) -> Waiting[int]:
        """Skip, and wait for at least one byte."""
        data = yield from self.blocking_read(length)
        return len(data)


@streams.resource("output-stream")
class OutputStream(Resource):
    """Bytes from the guest. A subclass defines `write`, and the other methods if it may have to wait."""

    def check_write(self) -> int:
        """Return the number of bytes that `write` takes now; 0 means to wait for `subscribe`."""
        return CHUNK

    def write(self, contents: bytes) -> None:
        """Take all the bytes; the guest must not write more than `check_write` allowed."""
        raise NotImplementedError

    def flush(self) -> None:
        """Begin to send the buffered bytes; `check_write` returns 0 until they are sent."""

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready as soon as `check_write` is above 0 or raises."""
        return Pollable()

    def flushed(self) -> bool:
        """Return whether the buffer is empty. Raises as `check_write` does."""
        return True

    def blocking_flush(self) -> Waiting[None]:
        """Flush, and wait until the buffer is empty."""
        self.flush()
        while not self.flushed():
            yield (self.subscribe(),)

    def blocking_write_and_flush(self, contents: bytes) -> Waiting[None]:
        """Write all of it (WASI says up to 4096 bytes), waiting for room, then flush."""
        rest = memoryview(contents)
        while rest:
            while not (room := self.check_write()):
                yield (self.subscribe(),)
            self.write(bytes(rest[:room]))
            rest = rest[room:]
        yield from self.blocking_flush()

    def write_zeroes(self, length: int) -> None:
        """Write `length` zero bytes, no more than `check_write` allowed."""
        if length > self.check_write():
            raise too_long()
        self.write(bytes(length))

    def blocking_write_zeroes_and_flush(self, length: int) -> Waiting[None]:
        """Write zero bytes as `blocking_write_and_flush` writes contents, up to CHUNK."""
        if length > CHUNK:
            raise too_long()
        yield from self.blocking_write_and_flush(bytes(length))

    def splice(self, src: InputStream, length: int) -> int:
        """Move bytes from an input stream as far as neither has to wait."""
        data = src.read(min(length, self.check_write()))
        if data:
            self.write(data)
        return len(data)

    def blocking_splice(self, src: InputStream, length: int) -> Waiting[int]:
        """Move bytes, and wait for at least one."""
        while not (room := self.check_write()):
            yield (self.subscribe(),)
        data = yield from src.blocking_read(min(length, room))
        self.write(data)
        return len(data)
