"""wasi:http/types, bodies: those that the guest receives and those that it sends, as server or client."""

from __future__ import annotations

from collections import deque

from runwasi.wasi.component.interface import Resource
from runwasi.wasi.component.values import Err, Ok
from runwasi.wasi.http.fields import Fields, HttpError, types
from runwasi.wasi.io.poll import Pollable
from runwasi.wasi.io.streams import CHUNK, InputStream, OutputStream, closed, failed, too_long

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from runwasi.wasi.component.interface import Waiting

    class Transport(Protocol):
        """The connection a body's bytes come from or go to.

        A guest that waits polls its `sources`; if there are none, the event loop wakes it.
        """

        def sources(self) -> tuple[int | None, int, float | None]:
            """Return what input or output waits for, as `Pollable.sources` does."""

        def pump(self) -> None:
            """Do as much input and output as possible without waiting."""

        def backlog(self) -> int:
            """Return the number of bytes taken from the body that the peer's socket has not accepted yet."""

        def lingers(self, waiting: int) -> bool:
            """Return whether this many flushed bytes may be held for a moment, as more may follow them."""

        def body_finished(self) -> None:
            """Note that the body being sent is complete or, if `aborted`, will never be."""


HIGH_WATER = 4 * CHUNK
"""Bytes of a body that are held for a guest that does not read it, before the peer has to wait."""


class Event(Pollable):
    """Ready when a function says so, once the transport has done what it can."""

    __slots__ = ("_happened", "_transport")

    def __init__(self, happened: Callable[[], bool], transport: Transport | None) -> None:
        super().__init__()
        self._happened = happened
        self._transport = transport

    def ready(self) -> bool:
        """Return whether it has happened."""
        if self._transport is not None:
            self._transport.pump()
        return self._happened()

    def sources(self) -> tuple[int | None, int, float | None]:
        """Return what the transport waits for."""
        return self._transport.sources() if self._transport is not None else (None, 0, None)


class Arriving:
    """A body on its way to the guest: filled by a connection, drained by the guest."""

    __slots__ = ("_chunks", "ended", "failure", "held", "trailers", "transport")

    def __init__(self, transport: Transport | None = None) -> None:
        self.transport = transport
        self._chunks: deque[bytes] = deque()
        self.held = 0
        self.ended = False
        self.failure: HttpError | None = None
        self.trailers: list[tuple[str, bytes]] = []

    def feed(self, data: bytes) -> None:
        """Add bytes that arrived."""
        self._chunks.append(data)
        self.held += len(data)

    def take(self, length: int) -> bytes:
        """Remove and return up to `length` bytes."""
        if not self.held and self.transport is not None:
            self.transport.pump()
        if not self.held:
            return b""
        chunk = self._chunks.popleft()
        if len(chunk) > length:
            self._chunks.appendleft(chunk[length:])
            chunk = chunk[:length]
        self.held -= len(chunk)
        return chunk

    def discard(self) -> None:
        """Discard the bytes that have arrived: nobody will read them."""
        self._chunks.clear()
        self.held = 0

    def readable(self) -> bool:
        """Return whether there are bytes to take, or none will come."""
        return self.held > 0 or self.ended or self.failure is not None

    def complete(self) -> bool:
        """Return whether the body has ended, trailers included, or will never end."""
        return self.ended or self.failure is not None


class BodyStream(InputStream):
    """The guest's end of an arriving body."""

    def __init__(self, body: Arriving) -> None:
        self.body = body

    def read(self, length: int) -> bytes:
        """Return bytes that have arrived."""
        data = self.body.take(length)
        if not data and length:
            if self.body.failure is not None:
                raise failed(self.body.failure)
            if self.body.ended:
                raise closed()
        return data

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready at the next bytes or the end."""
        return Event(self.body.readable, self.body.transport)


@types.resource("incoming-body")
class IncomingBody(Resource):
    """A body that the guest may read once."""

    def __init__(self, body: Arriving) -> None:
        self.body = body
        self._taken = False

    def stream(self) -> BodyStream:
        """Return the stream to read it from; only the first call succeeds."""
        if self._taken:
            raise Err
        self._taken = True
        return BodyStream(self.body)

    @staticmethod
    def finish(this: IncomingBody) -> FutureTrailers:
        """End reading and ask for the trailers."""
        return FutureTrailers(this.body)


@types.resource("future-trailers")
class FutureTrailers(Resource):
    """The fields after a body, available once it has arrived in full."""

    def __init__(self, body: Arriving) -> None:
        self.body = body
        self._given = False

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready when the body has ended."""
        return Event(self.body.complete, self.body.transport)

    def get(self) -> Ok | Err | None:
        """Return the trailers, None until they have arrived; only one call gets them."""
        if not self.body.complete():
            return None
        if self._given:
            return Err()
        self._given = True
        if self.body.failure is not None:
            return Ok(Err(self.body.failure.code))
        return Ok(Ok(Fields(self.body.trailers, immutable=True) if self.body.trailers else None))


@types.resource("outgoing-body")
class OutgoingBody(Resource):
    """A body that the guest writes. `declared` is its content-length, `transport` sends it."""

    def __init__(self, declared: int | None, too_long: str) -> None:
        self.declared = declared
        self.chunks: list[bytes] = []
        self.held = 0
        self.written = 0
        self.finished = False
        self.aborted = False
        self.trailers: list[tuple[str, bytes]] = []
        self.transport: Transport | None = None
        self._too_long = too_long
        self._taken = False

    def write(self) -> BodyWriter:
        """Return the stream to write it to; only the first call succeeds."""
        if self._taken:
            raise Err
        self._taken = True
        return BodyWriter(self)

    @staticmethod
    def finish(this: OutgoingBody, trailers: Fields | None) -> None:
        """End the body; the other side gets a body that was not finished as incomplete."""
        if this.declared is not None and this.written != this.declared:
            this.drop()
            raise Err((this._too_long, this.written))
        if trailers is not None:
            this.trailers = trailers.pairs
        this.finished = True
        if this.transport is not None:
            this.transport.body_finished()

    def drop(self) -> None:
        """Abandon the body unless it is finished: the other side learns that it is incomplete."""
        if not self.finished:
            self.aborted = True
            if self.transport is not None:
                self.transport.body_finished()

    def add(self, contents: bytes) -> None:
        """Add bytes to send. Raises failed() beyond the declared length, or once the connection is gone."""
        if self.aborted:
            raise closed()
        self.written += len(contents)
        if self.declared is not None and self.written > self.declared:
            raise failed(HttpError(self._too_long, self.written))
        self.chunks.append(contents)
        self.held += len(contents)

    def take(self) -> list[bytes]:
        """Remove and return everything that can be sent."""
        chunks, self.chunks = self.chunks, []
        self.held = 0
        return chunks

    def waiting(self) -> int:
        """Offer the peer's socket what there is; return the number of bytes that it has not accepted."""
        if self.transport is None:
            return self.held
        self.transport.pump()
        return self.held + self.transport.backlog()


class BodyWriter(OutputStream):
    """The guest's end of a body that it writes; holds up to CHUNK bytes while the peer is slower."""

    def __init__(self, body: OutgoingBody) -> None:
        self.body = body

    def check_write(self) -> int:
        """Return the number of bytes that it can take."""
        if self.body.aborted:
            raise closed()
        return max(0, CHUNK - self.body.waiting())

    def write(self, contents: bytes) -> None:
        """Take the bytes; they are sent when the guest flushes, waits or is done."""
        if self.body.held + len(contents) > MOST_HELD:
            raise too_long()
        self.body.add(contents)

    def flush(self) -> None:
        """Send what was written, if there is a transport yet."""
        if self.body.transport is not None:
            self.body.transport.pump()

    def flushed(self) -> bool:
        """Return whether nothing needs to be waited for: all is sent, may linger, or has no peer."""
        transport = self.body.transport
        if transport is None or self.body.aborted:
            return True
        waiting = self.body.waiting()
        return not waiting or transport.lingers(waiting)

    def subscribe(self) -> Pollable:
        """Return a pollable that is ready when there is room again."""
        return Event(self._has_room, self.body.transport)

    def _has_room(self) -> bool:
        return self.body.aborted or self.body.waiting() < CHUNK

    def blocking_flush(self) -> Waiting[None]:
        """Wait until the peer's socket has everything."""
        self.flush()
        while not self.flushed():
            yield (Event(self.flushed, self.body.transport),)

    def blocking_write_and_flush(self, contents: bytes) -> Waiting[None]:
        """Write and flush in one step if there is room: a call from the guest costs more than the bytes."""
        if len(contents) <= CHUNK - self.body.waiting():
            self.body.add(contents)
            yield from self.blocking_flush()
        else:
            yield from super().blocking_write_and_flush(contents)


MOST_HELD = 16 << 20
"""The most bytes of a body that wait here: far more than a guest writes that obeys `check_write`."""
