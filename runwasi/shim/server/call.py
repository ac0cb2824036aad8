"""Represents a call that a server must answer, and the operation that produces the answer."""

from __future__ import annotations

from time import monotonic

from runwasi.executor.parent.errands import PATIENCE
from runwasi.shim.server import codes
from runwasi.shim.server.codes import RpcError
from runwasi.wire.messages.ttrpc import Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from runwasi.linux.waiting import Operation
    from runwasi.shim.server.reactor import Following, Reactor, Timer
    from runwasi.shim.traces.tracing import Span
    from runwasi.wire.codec import Message
    from runwasi.wire.messages.ttrpc import Request

    class Connection(Protocol):
        """The connection of a call, for its answer."""

        def answer(self, stream: int, response: Response) -> None:
            """Send the answer of a stream."""

    Done = Callable[[Message | None, Exception | None], None]


class Call:
    """One request; answered once: by the handler's return, its operation's end, reply() or fail()."""

    __slots__ = (
        "_connection",
        "_following",
        "_stream",
        "_timer",
        "done",
        "metadata",
        "method",
        "patience",
        "request",
        "span",
        "timeout",
    )

    def __init__(self, connection: Connection, stream: int, request: Request) -> None:
        self._connection = connection
        self._stream = stream
        self._following: Following | None = None
        self._timer: Timer | None = None
        self.request = request
        self.method = request.method
        self.metadata = request.metadata
        self.timeout = request.timeout_nano / 1e9
        self.patience = PATIENCE
        """Seconds that its operation may take; the first stretch of that may change it."""
        self.span: Span | None = None
        self.done = False

    def reply(self, message: Message) -> None:
        """Answer with a message, unless the call is over."""
        self._finish(Response(payload=message.encode()))

    def fail(self, error: Exception) -> None:
        """Answer with the status of an error."""
        self._finish(Response(status=codes.status_of(error)))

    def hold(self, reactor: Reactor) -> None:
        """Leave the call open for a later answer, at most until the client's timeout."""
        if self.timeout > 0 and not self.done:
            self._timer = reactor.call_later(self.timeout, self._expire)

    def follow(self, reactor: Reactor, operation: Operation[Message], done: Done) -> None:
        """Run the operation that produces the answer; cancel it at the client's timeout or ours."""
        self._following = reactor.follow(operation, done)
        if not self._following.over:
            self.hold(reactor)
            self._following.limit(self.patience, _out_of_time(f"not done after {self.patience:.0f} s"))

    def cancel(self, error: Exception) -> None:
        """Cancel the operation, if any, with an error."""
        if self._following:
            self._following.cancel(error)

    def state(self) -> dict[str, Any]:
        """Return the state for another program, where the call is made again."""
        if self._timer:
            left = max(self._timer.deadline - monotonic(), 0.001)
            self.request.timeout_nano = int(left * 1e9)
        return {"stream": self._stream, "request": self.request.encode().hex()}

    def drop(self) -> None:
        """Forget the call: its connection is gone."""
        self.done = True
        if self._timer:
            self._timer.cancel()

    def _expire(self) -> None:
        error = _out_of_time("context deadline exceeded")
        self.fail(error)
        self.cancel(error)

    def _finish(self, response: Response) -> None:
        if self.done:
            return
        self.drop()
        self._connection.answer(self._stream, response)
        if self.span:
            self.span.answered(response.status)


def _out_of_time(message: str) -> RpcError:
    return RpcError(codes.DEADLINE_EXCEEDED, message)
