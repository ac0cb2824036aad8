"""ttrpc: containerd's small RPC protocol, its frames and its server side.

A frame is a header of 10 bytes, big endian, and up to 4 MiB of data:

    length u32 | stream u32 | type u8 | flags u8        data

Types are Request 1, Response 2 and Data 3; a unary call is one Request, answered by one Response on the same
stream. Streams of a client are odd and strictly increasing. A longer frame is skipped and answered
RESOURCE_EXHAUSTED, so that the connection's other calls go on. Source: containerd/ttrpc PROTOCOL.md.
"""

from __future__ import annotations

import os
from struct import Struct

from runwasi.linux import sockets
from runwasi.linux.fd import Fd
from runwasi.shim.server import codes
from runwasi.shim.server.call import Call
from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.reactor import BROKEN, READABLE, WRITABLE, read_available, write_available
from runwasi.wire.codec import Message, WireError
from runwasi.wire.messages.ttrpc import Request, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from runwasi.linux.waiting import Operation
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.server.tracing import Tracer
    from runwasi.wire.codec import Message
    from runwasi.wire.messages.status import Status

    Handler = Callable[[Message, Call], Message | Operation[Message] | None]
    Methods = Mapping[str, tuple[type[Message], type[Message]]]

REQUEST, RESPONSE, DATA = 1, 2, 3
MAX_LENGTH = 4 << 20

_HEADER = Struct(">IIBB")
_READ_SIZE = 64 << 10
_MAX_UNSENT = 1 << 20  # a peer that does not read is not read from either
_CALLS_AT_ONCE = 8  # of one connection, before other connections have their turn
# Of one pod. containerd has a connection or two, and one call per process waits; a pod served beside others must not
# take what those need.
_WAITING = ("Wait", "WaitSandbox")  # methods whose calls wait for something that happens, and do nothing
_MAX_CONNECTIONS = 64
_MAX_WAITING = 8192  # calls that wait for their answer
_MAX_HELD = 32 << 20  # bytes of what has come in part and of answers that nobody reads


def frame(stream: int, kind: int, data: bytes) -> bytes:
    """Return a frame without flags, as every unary message is."""
    return _HEADER.pack(len(data), stream, kind, 0) + data


class Frames:
    """Cuts a byte stream into frames, holding no more than the one that has not yet come in full."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0

    def __len__(self) -> int:
        """Return how many bytes are held."""
        return len(self._buffer)

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Go on where the program stopped whose place we take."""
        self._buffer += bytes.fromhex(state["buffer"])
        self._skip = state["skip"]

    def state(self) -> dict[str, Any]:
        """Return what is needed to go on in another program."""
        return {"buffer": self._buffer.hex(), "skip": self._skip}

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes | None]]:
        """Take the next bytes; yields (stream, type, data) per frame, with data None for one too long."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            length, stream, kind, _flags = _HEADER.unpack_from(self._buffer)
            if length > MAX_LENGTH:
                present = len(self._buffer) - _HEADER.size
                self._skip = max(length - present, 0)
                del self._buffer[: _HEADER.size + length]
                yield stream, kind, None
                continue
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            body = bytes(memoryview(self._buffer)[_HEADER.size : end])
            del self._buffer[:end]
            yield stream, kind, body


class Sender:
    """The outgoing half of a connection: what the socket does not take waits here."""

    def __init__(self, reactor: Reactor, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd
        self._unsent = bytearray()
        self._events = READABLE
        self._reads = True

    def __len__(self) -> int:
        """Return how many bytes are held."""
        return len(self._unsent)

    def unsent(self) -> str:
        """Return in hexadecimal digits what waits."""
        return self._unsent.hex()

    def read_on(self, reads: bool) -> None:
        """Read from the peer, or leave what it sends where it is for now."""
        self._reads = reads
        self._watch()

    @property
    def clogged(self) -> bool:
        """Whether more is waiting than a peer that reads would ever let pile up."""
        return len(self._unsent) > _MAX_UNSENT

    def send(self, data: bytes) -> None:
        """Send data, now or when the socket takes it. Raises OSError when the connection is broken."""
        self._unsent += data
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it, and watch for what is possible next."""
        while self._unsent:
            sent = write_available(self._fd, self._unsent)
            if not sent:
                break
            del self._unsent[:sent]
        self._watch()

    def _watch(self) -> None:
        reads = self._reads and not self.clogged
        events = (READABLE if reads else 0) | (WRITABLE if self._unsent else 0)
        if events != self._events:
            self._reactor.change(self._fd, events)
            self._events = events


class Server:
    """Serves methods on a listening socket to peers of our own uid and gid."""

    def __init__(self, reactor: Reactor, listener: int, on_fault: Callable[[str, Exception], None]) -> None:
        self.reactor = reactor
        self.on_fault = on_fault
        self.tracer: Tracer | None = None
        self._listener = Fd(listener)
        self._services: dict[str, tuple[Methods, Mapping[str, Handler]]] = {}
        self._late: dict[str, Callable[[], tuple[Methods, Mapping[str, Handler]]]] = {}
        self._connections: set[Connection] = set()
        self.waiting = 0
        """Calls of all connections that have no answer yet."""
        self._deserted: Callable[[], None] | None = None
        self.held_back = False
        """Nothing new is accepted or read for now."""
        os.set_blocking(listener, False)
        reactor.watch(listener, self._accept)

    def register(self, service: str, methods: Methods, handlers: Mapping[str, Handler]) -> None:
        """Serve a service: handlers by method name get the request and its Call.

        A handler returns the answer, or an operation that makes it, or None when it will answer through the call
        later, or raises. It must not block: see Reactor.
        """
        self._services[service] = methods, handlers

    def register_late(self, service: str, make: Callable[[], tuple[Methods, Mapping[str, Handler]]]) -> None:
        """Serve a service that is made when it is first called."""
        self._late[service] = make

    def dispatch(self, request: Request, call: Call) -> None:
        """Run the handler of a request and answer it with what comes of it."""
        if self.tracer:
            metadata = {pair.key: pair.value for pair in request.metadata}
            call.span = self.tracer.begin(request.service, request.method, metadata)
        try:
            answer = self._handle(request, call)
        except Exception as error:  # noqa: BLE001  becomes the call's status; faults of ours are reported
            self.settle(call, None, error)
            return
        if answer is None:
            call.hold(self.reactor)
        elif isinstance(answer, Message):
            call.reply(answer)
        else:
            call.follow(self.reactor, answer, lambda message, error: self.settle(call, message, error))

    def settle(self, call: Call, message: Message | None, error: Exception | None) -> None:
        """Answer a call with what its operation came to."""
        if error is None:
            assert message is not None
            call.reply(message)
            return
        if not codes.is_expected(error):
            self.on_fault(call.method, error)
        call.fail(error)

    @property
    def listening(self) -> bool:
        """Whether new clients are accepted."""
        return self._listener.is_open

    def stop_listening(self) -> None:
        """Accept nobody any more; who is connected is served on."""
        if self.listening:
            self.reactor.unwatch(self._listener.fileno())
            self._listener.close()

    def when_deserted(self, seconds: float, done: Callable[[], None]) -> None:
        """Call done once every client has closed its connection, or after so many seconds.

        The clients close first because of containerd's: when an answer and the end of the connection reach it
        together, it takes by chance the one or the other for the call's outcome ("ttrpc: closed").
        """
        timer = self.reactor.call_later(seconds, done)

        def deserted() -> None:
            timer.cancel()
            done()

        self._deserted = deserted
        self._look_for_clients()

    def close(self) -> None:
        """Close the listener and every connection."""
        self.stop_listening()
        for connection in list(self._connections):
            connection.close()

    def quiet(self) -> bool:
        """Whether every call that is not answered only waits, and so can be made again in another program."""
        return self.listening and all(connection.quiet() for connection in self._connections)

    def hold_back(self, held: bool) -> None:
        """Leave new connections and calls where they are, or take them again."""
        self.held_back = held
        if self.listening:
            self.reactor.change(self._listener.fileno(), 0 if held else READABLE)
        for connection in self._connections:
            connection.read_on()

    def take_over(self, connections: Sequence[Mapping[str, Any]]) -> None:
        """Go on with the connections of a program whose place we take, when all that is served is here."""
        for state in connections:
            connection = Connection(self, state["fd"])
            self._connections.add(connection)
            connection.take_over(state)

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return what is needed to go on in another program."""
        connections = [connection.state(keep) for connection in self._connections]
        return {"listener": keep(self._listener), "connections": connections}

    def held(self) -> int:
        """Return how many bytes the connections hold."""
        return sum(connection.held() for connection in self._connections)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that has closed."""
        self._connections.discard(connection)
        self._look_for_clients()

    def _look_for_clients(self) -> None:
        if self._deserted and not self._connections:
            deserted, self._deserted = self._deserted, None
            deserted()

    def _handle(self, request: Request, call: Call) -> Message | Operation[Message] | None:
        make = self._late.pop(request.service, None)
        if make is not None:
            self.register(request.service, *make())
        methods, handlers = self._services.get(request.service, ({}, {}))
        if not methods:
            raise RpcError(codes.UNIMPLEMENTED, f"service {request.service}")
        handler = handlers.get(request.method)
        if handler is None:
            raise RpcError(codes.UNIMPLEMENTED, f"method {request.method}")
        request_type, _ = methods[request.method]
        return handler(request_type.decode(request.payload), call)

    def _accept(self, _events: int) -> None:
        try:
            fd = sockets.accept(self._listener.fileno())
        except (BlockingIOError, ConnectionAbortedError):
            return
        _pid, uid, gid = sockets.peer_credentials(fd)
        if (uid, gid) != (os.geteuid(), os.getegid()) or len(self._connections) >= _MAX_CONNECTIONS:
            os.close(fd)
            return
        os.set_blocking(fd, False)
        self._connections.add(Connection(self, fd))


class Connection:
    """One client: its frames in, its answers out, its calls in between."""

    def __init__(self, server: Server, fd: int) -> None:
        self._server = server
        self._fd = Fd(fd)
        self._frames = Frames()
        self._sender = Sender(server.reactor, fd)
        self._calls: dict[int, Call] = {}
        self._last_stream = 0
        self._arrived: Iterator[tuple[int, int, bytes | None]] = iter(())
        self._serving = False
        """More has arrived than was served in one turn; the socket waits, even if it is closed by now."""
        server.reactor.watch(fd, self._ready)

    def quiet(self) -> bool:
        """Whether all its calls only wait."""
        return not self._serving and all(call.method in _WAITING for call in self._calls.values())

    def read_on(self) -> None:
        """Read what comes, unless there is enough to do, or nothing is to be read for now."""
        self._sender.read_on(not self._serving and not self._server.held_back)

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Go on where the program stopped whose place we take: send what waits, and make its calls again."""
        self._frames.take_over(state["frames"])
        self._last_stream = state["last_stream"]
        if state["unsent"]:
            self._sender.send(bytes.fromhex(state["unsent"]))
        for waiting in state["calls"]:
            self._call(waiting["stream"], Request.decode(bytes.fromhex(waiting["request"])))

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return what is needed to go on in another program."""
        return {
            "fd": keep(self._fd),
            "frames": self._frames.state(),
            "last_stream": self._last_stream,
            "unsent": self._sender.unsent(),
            "calls": [call.state() for call in self._calls.values()],
        }

    def held(self) -> int:
        """Return how many bytes wait here."""
        return len(self._frames) + len(self._sender)

    def answer(self, stream: int, response: Response) -> None:
        """Send the response of a call, which is then over."""
        if self._calls.pop(stream, None) is not None:
            self._server.waiting -= 1
        self._send(stream, response)

    def close(self) -> None:
        """Close the connection and forget its calls; what they started goes on."""
        if not self._fd.is_open:
            return
        self._server.reactor.unwatch(self._fd.fileno())
        self._fd.close()
        self._server.forget(self)
        self._server.waiting -= len(self._calls)
        for call in self._calls.values():
            call.drop()
        self._calls.clear()

    def _send(self, stream: int, response: Response) -> None:
        data = response.encode()
        if len(data) > MAX_LENGTH:
            error = RpcError(
                codes.RESOURCE_EXHAUSTED, f"answer of {len(data)} bytes is longer than {MAX_LENGTH}"
            )
            data = Response(status=codes.status_of(error)).encode()
        if self._fd.is_open:
            try:
                self._sender.send(frame(stream, RESPONSE, data))
            except OSError:
                self.close()

    def _ready(self, events: int) -> None:
        try:
            if events & WRITABLE:
                self._sender.flush()
            if events & READABLE:
                self._receive()
            elif events & BROKEN and not self._serving:
                self.close()
        except OSError:
            self.close()

    def _receive(self) -> None:
        data = read_available(self._fd.fileno(), _READ_SIZE)
        if data is None:
            return
        if not data:
            self.close()
            return
        self._arrived = self._frames.feed(data)
        self._serve_some()

    def _serve_some(self) -> None:
        """Serve a few of the calls that have arrived; the rest when others have had their turn."""
        for _ in range(_CALLS_AT_ONCE):
            if not self._fd.is_open:
                return
            frame = next(self._arrived, None)
            if frame is None:
                self._serving = False
                self.read_on()
                if len(self._frames) > _READ_SIZE and self._server.held() > _MAX_HELD:
                    self.close()
                return
            self._take(*frame)
        if self._fd.is_open:
            self._serving = True
            self.read_on()
            self._server.reactor.call_soon(self._serve_some)

    def _take(self, stream: int, kind: int, body: bytes | None) -> None:
        try:
            request = self._request(stream, kind, body)
        except RpcError as error:
            # Even a bad stream id is answered on that stream, so that the client learns which one was meant.
            self._send(stream, Response(status=codes.status_of(error)))
            return
        if request is not None:
            self._call(stream, request)

    def _call(self, stream: int, request: Request) -> None:
        call = self._calls[stream] = Call(self, stream, request)
        self._server.waiting += 1
        self._server.dispatch(request, call)

    def _request(self, stream: int, kind: int, body: bytes | None) -> Request | None:
        """Check a frame and return the request in it, or None for a type of a later protocol."""
        if body is None:
            raise RpcError(codes.RESOURCE_EXHAUSTED, f"message is longer than {MAX_LENGTH} bytes")
        if stream % 2 != 1:
            raise RpcError(codes.INVALID_ARGUMENT, "stream id must be odd for streams a client starts")
        if kind == DATA:
            raise RpcError(codes.INVALID_ARGUMENT, "stream is no longer active")
        if kind != REQUEST:
            return None
        if stream <= self._last_stream:
            raise RpcError(codes.INVALID_ARGUMENT, "stream id cannot be used again and must increase")
        self._last_stream = stream
        if self._server.waiting >= _MAX_WAITING:
            raise RpcError(codes.RESOURCE_EXHAUSTED, f"{_MAX_WAITING} calls are waiting already")
        try:
            return Request.decode(body)
        except WireError as error:
            raise RpcError(codes.INVALID_ARGUMENT, f"malformed request: {error}") from None


def status_of_response(data: bytes) -> tuple[Status | None, bytes]:
    """Read a response frame's data: its status, None on success, and its payload. Raises WireError."""
    response = Response.decode(data)
    status = response.status
    return (status if status is not None and status.code else None), response.payload
