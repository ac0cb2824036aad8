"""Calls ttrpc services, one call at a time, for the events that a shim sends to containerd."""

from __future__ import annotations

from runwasi.linux.fd import Fd
from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.reactor import READABLE, read_available
from runwasi.shim.server.ttrpc_sender import Sender
from runwasi.startup import thin_socket
from runwasi.wire.codec import WireError
from runwasi.wire.messages.ttrpc import KeyValue, Request, Response
from runwasi.wire.ttrpc_frames import REQUEST, RESPONSE, FrameDecoder, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runwasi.shim.server.reactor import Reactor, Timer
    from runwasi.wire.codec import Message

    Done = Callable[[Exception | None], None]

_READ_SIZE = 16 << 10
_LAST_STREAM = 0xFFFFFFFF


class TtrpcClient:
    """Calls the server at a Unix socket; connects for the first call, and again after a failure."""

    def __init__(self, reactor: Reactor, path: str) -> None:
        self._reactor = reactor
        self._path = path
        self._fd: Fd | None = None
        self._stream = -1
        self._done: Done | None = None
        self._timer: Timer | None = None

    @property
    def calling(self) -> bool:
        """Return whether a call is waiting for its answer."""
        return self._done is not None

    def call(
        self,
        service: str,
        method: str,
        message: Message,
        metadata: Mapping[str, str],
        timeout: float,
        done: Done,
    ) -> None:
        """Send a request; done gets None on success, RpcError when the server refused, OSError when it is
        away.

        timeout is in seconds and is told to the server too. The answer's payload is not kept.
        """
        assert self._done is None, "one call at a time"
        request = Request(
            service=service,
            method=method,
            payload=message.encode(),
            timeout_nano=int(timeout * 1e9),
            metadata=[KeyValue(key=key, value=value) for key, value in metadata.items()],
        )
        self._done = done
        self._timer = self._reactor.call_later(timeout, self._expire)
        try:
            if self._fd is None or self._stream + 2 > _LAST_STREAM:
                self._connect()
            self._stream += 2
            self._sender.send(frame(self._stream, REQUEST, request.encode()))
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Close the connection; a call under way is forgotten."""
        self._finish()
        self._disconnect()

    def _connect(self) -> None:
        self._disconnect()
        sock = thin_socket.socket(
            thin_socket.AF_UNIX,
            thin_socket.SOCK_STREAM | thin_socket.SOCK_CLOEXEC | thin_socket.SOCK_NONBLOCK,
        )
        try:
            sock.connect(self._path)  # a unix socket connects at once or fails at once: man 2 connect
        except OSError:
            sock.close()
            raise
        fd = sock.detach()
        self._fd = Fd(fd)
        self._stream = -1
        self._frames = FrameDecoder()
        self._sender = Sender(self._reactor, fd)
        self._reactor.watch(fd, self._ready)

    def _disconnect(self) -> None:
        if self._fd is not None:
            self._reactor.unwatch(self._fd.fileno())
            self._fd.close()
            self._fd = None

    def _ready(self, events: int) -> None:
        assert self._fd is not None
        try:
            self._sender.flush()
            data = read_available(self._fd.fileno(), _READ_SIZE) if events & READABLE else b""
        except OSError as error:
            self._fail(error)
            return
        if data is None:
            return
        if not data:
            self._fail(ConnectionResetError(104, "connection closed", self._path))
            return
        for stream, kind, body in self._frames.feed(data):
            if kind == RESPONSE and stream == self._stream and body is not None:
                self._answered(body)

    def _answered(self, body: bytes) -> None:
        try:
            status = Response.decode(body).status
        except WireError as error:
            self._fail(error)
            return
        done = self._finish()
        if done:
            done(None if status is None or not status.code else RpcError(status.code, status.message))

    def _expire(self) -> None:
        self._fail(TimeoutError(110, "no answer", self._path))

    def _fail(self, error: Exception) -> None:
        self._disconnect()
        done = self._finish()
        if done:
            done(error)

    def _finish(self) -> Done | None:
        done, self._done = self._done, None
        if self._timer:
            self._timer.cancel()
            self._timer = None
        return done
