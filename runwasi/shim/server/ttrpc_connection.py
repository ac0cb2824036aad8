"""Serves one client of a ttrpc server: turns its frames into calls, and answers them.

A frame beyond the limit is skipped and answered with RESOURCE_EXHAUSTED, so that the connection's other calls
go on.
"""

from __future__ import annotations

from runwasi.linux.fd import Fd
from runwasi.shim.server import codes
from runwasi.shim.server.call import Call
from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.reactor import BROKEN, READABLE, WRITABLE, read_available
from runwasi.shim.server.ttrpc_sender import Sender
from runwasi.wire.codec import WireError
from runwasi.wire.messages.ttrpc import Request, Response
from runwasi.wire.ttrpc_frames import DATA, MAX_LENGTH, REQUEST, RESPONSE, FrameDecoder, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, Protocol

    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.reactor import Reactor

    class ConnectionOwner(Protocol):
        """A connection's owner: the server that answers its calls, and bounds its memory."""

        reactor: Reactor
        waiting: int
        held_back: bool

        def dispatch(self, request: Request, call: Call) -> None:
            """Run the handler of a request and answer it."""

        def held(self) -> int:
            """Return how many bytes the connections hold."""

        def forget(self, connection: Connection) -> None:
            """Drop a connection that has closed."""


_READ_SIZE = 64 << 10
_CALLS_AT_ONCE = 8  # of one connection, before other connections have their turn
# Bounds of one pod. containerd has one or two connections, and one waiting call per process; a pod must leave
# enough for the other pods of this server.
_WAITING = ("Wait", "WaitSandbox")  # methods whose calls only wait for an event
_MAX_WAITING = 8192  # calls that wait for their answer
_MAX_HELD = 32 << 20  # bytes of partly received frames, and of answers that nobody reads


class Connection:
    """The connection of one client: reads its frames, runs its calls, sends its answers."""

    def __init__(self, server: ConnectionOwner, fd: int) -> None:
        self._server = server
        self._fd = Fd(fd)
        self._frames = FrameDecoder()
        self._sender = Sender(server.reactor, fd)
        self._calls: dict[int, Call] = {}
        self._last_stream = 0
        self._arrived: Iterator[tuple[int, int, bytes | None]] = iter(())
        self._serving = False
        """More has arrived than was served in one turn; the socket waits, even if it is closed by now."""
        server.reactor.watch(fd, self._ready)

    def quiet(self) -> bool:
        """Return whether all of its calls only wait for an event."""
        return not self._serving and all(call.method in _WAITING for call in self._calls.values())

    def read_on(self) -> None:
        """Read from the client, unless there is enough to do, or reading is held back."""
        self._sender.read_on(not self._serving and not self._server.held_back)

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Continue for the program that we replace: send the waiting answers, and run the open calls again."""
        self._frames.take_over(state["frames"])
        self._last_stream = state["last_stream"]
        if state["unsent"]:
            self._sender.send(bytes.fromhex(state["unsent"]))
        for waiting in state["calls"]:
            self._call(waiting["stream"], Request.decode(bytes.fromhex(waiting["request"])))

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return the state from which another program continues."""
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
        """Close the connection and forget its calls; work that they started goes on."""
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
            arrived = next(self._arrived, None)
            if arrived is None:
                self._serving = False
                self.read_on()
                if len(self._frames) > _READ_SIZE and self._server.held() > _MAX_HELD:
                    self.close()
                return
            self._take(*arrived)
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
