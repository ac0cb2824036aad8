"""Serves ttrpc on a listening socket: finds the service and the method of each call.

The frames are described in runwasi.wire.ttrpc_frames.
"""

from __future__ import annotations

import os

from runwasi.linux.fd import Fd
from runwasi.shim.server import codes
from runwasi.shim.server.acceptor import Acceptor
from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.ttrpc_connection import Connection
from runwasi.wire.codec import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from runwasi.linux.waiting import Operation
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.call import Call
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.traces.tracing import Tracer
    from runwasi.wire.messages.ttrpc import Request

    Handler = Callable[[Any, Call], Message | Operation[Message] | None]
    Methods = Mapping[str, tuple[type[Message], type[Message]]]

_MAX_CONNECTIONS = 64  # containerd has one or two


class TtrpcServer:
    """Serves methods on a listening socket to peers of our own uid and gid."""

    def __init__(self, reactor: Reactor, listener: int, on_fault: Callable[[str, Exception], None]) -> None:
        self.reactor = reactor
        self.on_fault = on_fault
        self.tracer: Tracer | None = None
        self._services: dict[str, tuple[Methods, Mapping[str, Handler]]] = {}
        self._late: dict[str, Callable[[], tuple[Methods, Mapping[str, Handler]]]] = {}
        self._connections: set[Connection] = set()
        self._taken_over: list[tuple[Connection, Mapping[str, Any]]] = []
        self.waiting = 0
        """Calls of all connections that have no answer yet."""
        self._deserted: Callable[[], None] | None = None
        self.held_back = False
        """Nothing new is accepted or read for now."""
        self._acceptor = Acceptor(
            reactor, Fd(listener), self._connected, lambda error: on_fault("accept", error)
        )

    def register(self, service: str, methods: Methods, handlers: Mapping[str, Handler]) -> None:
        """Serve a service: handlers by method name get the request and its Call.

        A handler returns the answer, an operation that produces it, or None if it will answer through the
        call later; or it raises. It must not block: see Reactor.
        """
        self._services[service] = methods, handlers

    def register_late(self, service: str, make: Callable[[], tuple[Methods, Mapping[str, Handler]]]) -> None:
        """Register a service that is made at its first call."""
        self._late[service] = make

    def dispatch(self, request: Request, call: Call) -> None:
        """Run the handler of a request, and answer with its result."""
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
        """Answer a call with its operation's result or error."""
        if error is None:
            assert message is not None
            call.reply(message)
            return
        if not codes.is_expected(error):
            self.on_fault(call.method, error)
        call.fail(error)

    @property
    def listening(self) -> bool:
        """Return whether new clients are accepted."""
        return self._acceptor.listening

    def stop_listening(self) -> None:
        """Stop accepting; connected clients are still served."""
        self._acceptor.close()

    def when_deserted(self, seconds: float, done: Callable[[], None]) -> None:
        """Call done once every client has closed its connection, or after so many seconds.

        The clients must close first: if an answer and the end of the connection reach containerd together,
        its client may report either as the call's outcome ("ttrpc: closed").
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
        """Return whether all open calls only wait, so that another program can run them again."""
        return self.listening and all(connection.quiet() for connection in self._connections)

    def hold_back(self, held: bool) -> None:
        """Stop accepting connections and reading calls, or resume."""
        self.held_back = held
        self._acceptor.hold_back(held)
        for connection in self._connections:
            connection.read_on()

    def take_over(self, connections: Sequence[Mapping[str, Any]]) -> None:
        """Take over the connections of the program that we replace; nothing is sent before go_on."""
        for state in connections:
            connection = Connection(self, state["fd"])
            self._connections.add(connection)
            self._taken_over.append((connection, state))

    def go_on(self) -> None:
        """Go on with those connections, when all that is served is here: send what waits, make the calls again."""
        taken_over, self._taken_over = self._taken_over, []
        for connection, state in taken_over:
            connection.go_on(state)

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return the state from which another program continues."""
        connections = [connection.state(keep) for connection in self._connections]
        return {"listener": keep(self._acceptor.listener), "connections": connections}

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
        message = request_type.decode(request.payload)
        if call.span:
            call.span.note({"container.id": getattr(message, "id", "")})
        if b"\0" in request.payload:  # usually in a number
            _refuse_zero_bytes(message)
        return handler(message, call)

    def _connected(self, fd: int, _pid: int) -> None:
        if len(self._connections) >= _MAX_CONNECTIONS:
            os.close(fd)
        else:
            self._connections.add(Connection(self, fd))


def _refuse_zero_bytes(message: Message) -> None:
    from runwasi.wire.zero_bytes import member_with_zero  # late: few calls have any

    if member := member_with_zero(message):
        raise RpcError(codes.INVALID_ARGUMENT, f"{member} contains a zero byte")
