"""gRPC over HTTP/2 on a unix socket: one connection, one call at a time.

containerd's API is only gRPC, and a container whose module lies in its image must ask it during `create`.
Importing grpcio costs 35 ms and 20 MiB there, ten times what the questions themselves cost; the part of
HTTP/2 that one sequential client needs is this file (docs/decisions/0008-own-wire-formats.md).
Sources: RFC 9113 (HTTP/2), grpc/doc/PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import struct
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket  # without its wrapper: 2 ms
from time import monotonic

from runwasi.containerd import hpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = (
    1,
    2,
    4,
    5,
)

# gRPC's status codes, those that callers tell apart (grpc/doc/statuscodes.md).
DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 4, 5, 6, 12, 13, 14

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_HEADER = struct.Struct(">HBBBI")  # length as 16 + 8 bits, type, flags, stream
_DEFAULT_WINDOW = 65_535
_MAX_WINDOW = 2**31 - 1
_MAX_MESSAGE = 16 << 20  # containerd's own limit
_BUFFER = 256 << 10


class CallError(Exception):
    """A call that did not succeed: gRPC's status code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Stream:
    """One call: what has arrived of the answer, and how much we may still send."""

    __slots__ = ("buffer", "ended", "headers", "id", "send_window", "unreturned")

    def __init__(self, stream_id: int, send_window: int) -> None:
        self.id = stream_id
        self.send_window = send_window
        self.unreturned = 0
        self.buffer = bytearray()
        self.headers: dict[str, str] = {}
        self.ended = False


class Channel:
    """A connection to a gRPC server on a unix socket; calls are made one after another.

    Args:
        address: the socket's path, with or without `unix://`.
        metadata: headers sent with every call.
        timeout: seconds a call may take in all.

    Raises OSError when nobody listens there.
    """

    def __init__(self, address: str, metadata: Iterable[tuple[str, str]] = (), timeout: float = 30) -> None:
        self._metadata = tuple(metadata)
        self._timeout = timeout
        self._deadline = monotonic() + timeout
        self._received = bytearray()
        self._send_window = _DEFAULT_WINDOW
        self._initial_window = _DEFAULT_WINDOW
        self._max_frame = 16_384
        self._unreturned = 0
        self._stream = _Stream(-1, 0)
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(address.removeprefix("unix://"))
            self._greet()
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; a call under way is cancelled."""
        self._socket.close()

    def call(self, method: str, request: bytes, metadata: Iterable[tuple[str, str]] = ()) -> bytes:
        """Send one message to `/package.Service/Method` and return the one that answers it.

        Raises CallError.
        """
        answers = list(self.stream(method, (request,), metadata))
        if len(answers) != 1:
            raise CallError(INTERNAL, f"{method} answered {len(answers)} messages instead of one")
        return answers[0]

    def stream(
        self, method: str, requests: Iterable[bytes], metadata: Iterable[tuple[str, str]] = ()
    ) -> Iterator[bytes]:
        """Send every request, then yield every answer; an iterator left early cancels the call.

        Raises CallError.
        """
        self._deadline = monotonic() + self._timeout
        try:
            stream = self._open(method, metadata)
            for request in requests:
                self._send_data(stream, struct.pack(">BI", 0, len(request)) + request)
            self._send_frame(DATA, END_STREAM, stream.id)
            while (message := self._next_message(stream)) is not None:
                yield message
        except TimeoutError:
            raise CallError(DEADLINE_EXCEEDED, f"{method} took longer than {self._timeout:g} s") from None
        except OSError as error:
            raise CallError(UNAVAILABLE, f"connection lost: {error.strerror or error}") from error
        except hpack.HeaderError as error:
            raise CallError(INTERNAL, str(error)) from error
        finally:
            if not self._stream.ended:
                self._cancel()

    # -- a call

    def _open(self, method: str, metadata: Iterable[tuple[str, str]]) -> _Stream:
        self._stream = stream = _Stream(self._stream.id + 2, self._initial_window)
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", f"{max(1, int(self._timeout * 1000))}m"),
            *self._metadata,
            *metadata,
        ]
        self._send_frame(HEADERS, END_HEADERS, stream.id, hpack.encode(headers))
        return stream

    def _send_data(self, stream: _Stream, data: bytes) -> None:
        """Send data in frames, waiting whenever the peer has no room for more (RFC 9113 section 5.2)."""
        view = memoryview(data)
        while view and not stream.ended:  # a server may answer before it has read all; its status says why
            room = min(self._send_window, stream.send_window, self._max_frame, len(view))
            if room <= 0:
                self._read_frame()
                continue
            self._send_frame(DATA, 0, stream.id, view[:room])
            self._send_window -= room
            stream.send_window -= room
            view = view[room:]

    def _next_message(self, stream: _Stream) -> bytes | None:
        """The next length-prefixed message, or None after the last; raises CallError for a status not OK."""
        while True:
            if len(stream.buffer) >= 5:
                compressed, length = struct.unpack_from(">BI", stream.buffer)
                if compressed or length > _MAX_MESSAGE:
                    raise CallError(INTERNAL, f"cannot take a message of {length} bytes")
                if len(stream.buffer) >= 5 + length:
                    message = bytes(memoryview(stream.buffer)[5 : 5 + length])
                    del stream.buffer[: 5 + length]
                    return message
            if stream.ended:
                _raise_for_status(stream)
                return None
            self._read_frame()

    def _cancel(self) -> None:
        """Tell the server to stop answering; the connection may be gone, and then there is no need."""
        self._stream.ended = True
        try:
            self._send_frame(RST_STREAM, 0, self._stream.id, struct.pack(">I", 8))
        except OSError:
            self.close()

    # -- frames

    def _greet(self) -> None:
        """Open the connection: no push, no dynamic header table, as large windows as there are."""
        settings = struct.pack(
            ">HIHIHI",
            HEADER_TABLE_SIZE,
            0,
            ENABLE_PUSH,
            0,
            INITIAL_WINDOW_SIZE,
            _MAX_WINDOW,
        )
        window = struct.pack(">I", _MAX_WINDOW - _DEFAULT_WINDOW)
        greeting = (_PREFACE, _frame(SETTINGS, 0, 0, settings), _frame(WINDOW_UPDATE, 0, 0, window))
        self._socket.sendall(b"".join(greeting))

    def _send_frame(self, kind: int, flags: int, stream_id: int, payload: bytes | memoryview = b"") -> None:
        self._wait_at_most_until_the_deadline()
        self._socket.sendall(_frame(kind, flags, stream_id, payload))

    def _read_frame(self) -> None:
        """Read one frame and act on it."""
        high, low, kind, flags, stream_id = _FRAME_HEADER.unpack(self._take(_FRAME_HEADER.size))
        payload = self._take(high << 8 | low)
        if kind == DATA:
            self._on_data(stream_id, flags, payload)
        elif kind == HEADERS:
            self._on_headers(stream_id, flags, payload)
        elif kind == RST_STREAM and stream_id == self._stream.id and not self._stream.ended:
            raise CallError(UNAVAILABLE, f"call refused (HTTP/2 error {int.from_bytes(payload, 'big')})")
        elif kind == SETTINGS and not flags & ACK:
            self._on_settings(payload)
        elif kind == PING and not flags & ACK:
            self._send_frame(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            raise CallError(UNAVAILABLE, "server is shutting down")
        elif kind == WINDOW_UPDATE:
            self._on_window_update(stream_id, payload)

    def _on_data(self, stream_id: int, flags: int, payload: bytes) -> None:
        self._unreturned = self._return_window(0, self._unreturned + len(payload))
        if stream_id == self._stream.id:
            self._stream.unreturned = self._return_window(stream_id, self._stream.unreturned + len(payload))
            self._stream.buffer += _unpadded(payload, flags)
            self._stream.ended |= bool(flags & END_STREAM)

    def _return_window(self, stream_id: int, taken: int) -> int:
        """Give a window back once half of it is used; returns what is still taken of it."""
        if taken <= _MAX_WINDOW // 2:
            return taken
        self._send_frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">I", taken))
        return 0

    def _on_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        block = _unpadded(payload, flags)
        if flags & PRIORITY:
            block = block[5:]
        while not flags & END_HEADERS:
            high, low, kind, more, _stream = _FRAME_HEADER.unpack(self._take(_FRAME_HEADER.size))
            if kind != CONTINUATION:
                raise CallError(INTERNAL, "header block was interrupted")
            block += self._take(high << 8 | low)
            flags |= more & END_HEADERS
        if stream_id == self._stream.id:
            self._stream.headers.update(hpack.decode(block))
            self._stream.ended |= bool(flags & END_STREAM)

    def _on_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == INITIAL_WINDOW_SIZE:
                self._stream.send_window += value - self._initial_window
                self._initial_window = value
            elif name == MAX_FRAME_SIZE:
                self._max_frame = value
        self._send_frame(SETTINGS, ACK, 0)

    def _on_window_update(self, stream_id: int, payload: bytes) -> None:
        increment = int.from_bytes(payload, "big") & _MAX_WINDOW
        if stream_id == 0:
            self._send_window += increment
        elif stream_id == self._stream.id:
            self._stream.send_window += increment

    def _take(self, size: int) -> bytes:
        """Exactly size bytes from the socket. Raises OSError, TimeoutError at the call's deadline."""
        while len(self._received) < size:
            self._wait_at_most_until_the_deadline()
            chunk = self._socket.recv(_BUFFER)
            if not chunk:
                raise ConnectionResetError("closed by the server")
            self._received += chunk
        taken = bytes(memoryview(self._received)[:size])
        del self._received[:size]
        return taken

    def _wait_at_most_until_the_deadline(self) -> None:
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def _frame(kind: int, flags: int, stream_id: int, payload: bytes | memoryview) -> bytes:
    header = _FRAME_HEADER.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream_id)
    return b"".join((header, payload))


def _unpadded(payload: bytes, flags: int) -> bytes:
    return payload[1 : len(payload) - payload[0]] if flags & PADDED else payload


def _raise_for_status(stream: _Stream) -> None:
    """Raise CallError unless the trailers say OK. Source: grpc/doc/PROTOCOL-HTTP2.md#responses."""
    if stream.headers.get(":status", "200") != "200":
        raise CallError(UNAVAILABLE, f"HTTP status {stream.headers[':status']}")
    status = stream.headers.get("grpc-status", "")
    if not status.isdecimal():
        raise CallError(INTERNAL, "answer without a status")
    if int(status):
        raise CallError(int(status), _percent_decoded(stream.headers.get("grpc-message", "")))


def _percent_decoded(text: str) -> str:
    """Undo gRPC's percent-encoding of a status message; a broken escape stays as it is."""
    first, *rest = text.split("%")
    decoded = bytearray(first.encode())
    for part in rest:
        try:
            decoded.append(int(part[:2], 16))
            decoded += part[2:].encode()
        except ValueError:
            decoded += b"%" + part.encode()
    return decoded.decode("utf-8", "replace")
