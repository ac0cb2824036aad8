"""Calls shims over ttrpc and blocks until they answer, for tests; ours and containerd's alike."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

from runwasi.wire.messages.task import TASK_METHODS
from runwasi.wire.messages.ttrpc import KeyValue, Request, Response
from runwasi.wire.ttrpc_frames import HEADER, REQUEST, RESPONSE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any, Self

    from runwasi.wire.codec import Message


class CallError(Exception):
    """A call was answered with a status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.message = message


class Peer:
    """One connection; calls may be left open with send() and collected with receive()."""

    def __init__(self, address: str | Path | socket.socket, *, timeout: float = 60) -> None:
        if isinstance(address, socket.socket):
            self.socket = address
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(str(address).removeprefix("unix://"))
        self.socket.settimeout(timeout)
        self._next_stream = 1
        self.metadata: Mapping[str, str] = {}
        """Sent with every request from now on."""
        self._early: dict[int, Response] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, service: str, method: str, payload: bytes, *, timeout_nano: int = 0) -> int:
        """Send a request and return its stream."""
        stream = self._next_stream
        self._next_stream += 2
        request = Request(service=service, method=method, payload=payload, timeout_nano=timeout_nano)
        request.metadata = [KeyValue(key=name, value=value) for name, value in self.metadata.items()]
        self.send_frame(stream, REQUEST, request.encode())
        return stream

    def send_frame(self, stream: int, kind: int, data: bytes, *, length: int | None = None) -> None:
        self.socket.sendall(HEADER.pack(len(data) if length is None else length, stream, kind, 0) + data)

    def has_answer(self, stream: int) -> bool:
        """Return whether the answer of a stream came before that of a later call which was received."""
        return stream in self._early

    def receive(self, stream: int) -> bytes:
        """Return the payload of a stream's answer; raises CallError."""
        while stream not in self._early:
            got, kind, data = self.receive_frame()
            assert kind == RESPONSE
            self._early[got] = Response.decode(data)
        response = self._early.pop(stream)
        if response.status is not None and response.status.code:
            raise CallError(response.status.code, response.status.message)
        return response.payload

    def receive_frame(self) -> tuple[int, int, bytes]:
        length, stream, kind, _ = HEADER.unpack(self._exactly(HEADER.size))
        return stream, kind, self._exactly(length)

    def call(self, service: str, method: str, payload: bytes, *, timeout_nano: int = 0) -> bytes:
        return self.receive(self.send(service, method, payload, timeout_nano=timeout_nano))

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)


class Methods:
    """Calls of one service by method name, with messages in and out."""

    def __init__(
        self, peer: Peer, service: str, methods: Mapping[str, tuple[type[Message], type[Message]]]
    ) -> None:
        self.peer = peer
        self.service = service
        self._methods = methods

    def call(self, method: str, *, timeout_nano: int = 0, **members: object) -> Any:
        """Call a method with the members of its request and return the answer."""
        return self.collect(method, self.begin(method, timeout_nano=timeout_nano, **members))

    def begin(self, method: str, *, timeout_nano: int = 0, **members: object) -> int:
        """Send a request and return its stream, for collect()."""
        request, _ = self._methods[method]
        payload = request(**members).encode()
        return self.peer.send(self.service, method, payload, timeout_nano=timeout_nano)

    def collect(self, method: str, stream: int) -> Any:
        """Wait for the answer to begin()."""
        _, answer = self._methods[method]
        return cast("Any", answer.decode(self.peer.receive(stream)))


def task_service(peer: Peer, version: str = "v2") -> Methods:
    """The Task service of a shim."""
    return Methods(peer, f"containerd.task.{version}.Task", TASK_METHODS)
