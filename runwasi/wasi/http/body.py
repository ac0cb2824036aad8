"""wasi:http/types, bodies: what arrives for the guest and what it sends, whoever the other side is."""

from __future__ import annotations

from collections import deque

from runwasi.wasi.component.interface import Resource
from runwasi.wasi.component.values import Err, Ok
from runwasi.wasi.http.fields import Fields, HttpError, types
from runwasi.wasi.io.poll import Pollable
from runwasi.wasi.io.streams import CHUNK, InputStream, OutputStream, closed, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from runwasi.wasi.component.interface import Waiting

    class Transport(Protocol):
        """The connection a body's bytes come from or go to.

        A guest that waits polls its `sources`; without any it is woken by the event loop.
        """

        def sources(self) -> tuple[int, int, float | None]:
            """Say what input or output waits for, as `Pollable.sources` does."""

        def pump(self) -> None:
            """Do what input and output is possible without waiting."""

        def backlog(self) -> int:
            """Count the bytes taken out of the body being sent that the peer's socket has not taken."""

        def lingers(self, waiting: int) -> bool:
            """Say whether so many bytes that were flushed may stay for a moment, as more may follow them."""

        def body_finished(self) -> None:
            """Hear that the body being sent is complete or, if `aborted`, will never be."""


HIGH_WATER = 4 * CHUNK
"""How much of a body we hold for a guest that does not read it, before the peer has to wait."""


class Event(Pollable):
    """Ready when a function says so, after the transport has done what it can."""

    __slots__ = ("_happened", "_transport")

    def __init__(self, happened: Callable[[], bool], transport: Transport | None) -> None:
        super().__init__()
        self._happened = happened
        self._transport = transport

    def ready(self) -> bool:
        """Say whether it has happened."""
        if self._transport is not None:
            self._transport.pump()
        return self._happened()

    def sources(self) -> tuple[int, int, float | None]:
        """Say what the transport waits for."""
        return self._transport.sources() if self._transport is not None else (-1, 0, None)


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
        """Add what arrived."""
        self._chunks.append(data)
        self.held += len(data)

    def take(self, length: int) -> bytes:
        """Remove up to so many bytes."""
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
        """Forget what has arrived: nobody wants it."""
        self._chunks.clear()
        self.held = 0

    def readable(self) -> bool:
        """Say whether there is something to take, or nothing more to come."""
        return self.held > 0 or self.ended or self.failure is not None

    def complete(self) -> bool:
        """Say whether the last of it, trailers included, has arrived or will never."""
        return self.ended or self.failure is not None


class BodyStream(InputStream):
    """The guest's end of an arriving body."""

    def __init__(self, body: Arriving) -> None:
        self.body = body

    def read(self, length: int) -> bytes:
        """Give what has arrived."""
        data = self.body.take(length)
        if not data and length:
            if self.body.failure is not None:
                raise failed(self.body.failure)
            if self.body.ended:
                raise closed()
        return data

    def subscribe(self) -> Pollable:
        """Be ready with the next bytes or the end."""
        return Event(self.body.readable, self.body.transport)


@types.resource("incoming-body")
class IncomingBody(Resource):
    """A body the guest may read once."""

    def __init__(self, body: Arriving) -> None:
        self.body = body
        self._taken = False

    def stream(self) -> BodyStream:
        """Give the bytes, the first time."""
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
    """The fields after a body, once it has arrived in full."""

    def __init__(self, body: Arriving) -> None:
        self.body = body
        self._given = False

    def subscribe(self) -> Pollable:
        """Be ready when the body has ended."""
        return Event(self.body.complete, self.body.transport)

    def get(self) -> Ok | Err | None:
        """Give them once; nothing before they are there."""
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
    """A body the guest writes. `declared` is its content-length, `transport` whoever sends it."""

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
        """Give the stream to write it to, the first time."""
        if self._taken:
            raise Err
        self._taken = True
        return BodyWriter(self)

    @staticmethod
    def finish(this: OutgoingBody, trailers: Fields | None) -> None:
        """End it; only a finished body arrives as a whole."""
        if this.declared is not None and this.written != this.declared:
            this.drop()
            raise Err((this._too_long, this.written))
        if trailers is not None:
            this.trailers = trailers.pairs
        this.finished = True
        if this.transport is not None:
            this.transport.body_finished()

    def drop(self) -> None:
        """Give it up unfinished: the other side learns that it is not whole."""
        if not self.finished:
            self.aborted = True
            if self.transport is not None:
                self.transport.body_finished()

    def add(self, contents: bytes) -> None:
        """Take bytes to send. Raises failed() beyond the declared length or after the connection is gone."""
        if self.aborted:
            raise closed()
        self.written += len(contents)
        if self.declared is not None and self.written > self.declared:
            raise failed(HttpError(self._too_long, self.written))
        self.chunks.append(contents)
        self.held += len(contents)

    def take(self) -> list[bytes]:
        """Remove everything there is to send."""
        chunks, self.chunks = self.chunks, []
        self.held = 0
        return chunks

    def waiting(self) -> int:
        """Count the bytes the guest wrote and the peer's socket has not taken, after it took what it could."""
        if self.transport is None:
            return self.held
        self.transport.pump()
        return self.held + self.transport.backlog()


class BodyWriter(OutputStream):
    """The guest's end of a body it writes; holds up to CHUNK bytes while the peer is slower."""

    def __init__(self, body: OutgoingBody) -> None:
        self.body = body

    def check_write(self) -> int:
        """Give the room left."""
        if self.body.aborted:
            raise closed()
        return max(0, CHUNK - self.body.waiting())

    def write(self, contents: bytes) -> None:
        """Take the bytes; they go out when the guest flushes them, waits or is done."""
        self.body.add(contents)

    def flush(self) -> None:
        """Send what is there, if it is known already where to."""
        if self.body.transport is not None:
            self.body.transport.pump()

    def flushed(self) -> bool:
        """Say whether the peer's socket has everything or need not yet, or there is no peer to wait for."""
        transport = self.body.transport
        if transport is None or self.body.aborted:
            return True
        waiting = self.body.waiting()
        return not waiting or transport.lingers(waiting)

    def subscribe(self) -> Pollable:
        """Be ready when there is room again."""
        return Event(self._has_room, self.body.transport)

    def _has_room(self) -> bool:
        return self.body.aborted or self.body.waiting() < CHUNK

    def blocking_flush(self) -> Waiting[None]:
        """Wait until the peer's socket has everything."""
        self.flush()
        while not self.flushed():
            yield (Event(self.flushed, self.body.transport),)

    def blocking_write_and_flush(self, contents: bytes) -> Waiting[None]:
        """Do the usual in one step where it fits: a call from the guest costs more than the bytes."""
        if len(contents) <= CHUNK - self.body.waiting():
            self.body.add(contents)
            yield from self.blocking_flush()
        else:
            yield from super().blocking_write_and_flush(contents)
