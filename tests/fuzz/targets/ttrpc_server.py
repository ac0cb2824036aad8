"""The ttrpc server at the other end of a socket pair: it answers in whole frames, and lets go of every call."""

from __future__ import annotations

import os
import socket
import tempfile
from typing import TYPE_CHECKING

from runwasi.linux import sockets
from runwasi.shim.server import codes
from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.server.ttrpc_server import TtrpcServer
from runwasi.wire.messages.sandbox import SANDBOX_METHODS
from runwasi.wire.messages.task import TASK_METHODS, CreateTaskRequest, ExecProcessRequest, KillRequest
from runwasi.wire.messages.ttrpc import KeyValue, Request, Response
from runwasi.wire.messages.well_known import Any
from runwasi.wire.ttrpc_frames import REQUEST, RESPONSE, FrameDecoder, frame
from tests.fuzz.harness import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runwasi.shim.server.call import Call
    from runwasi.shim.server.ttrpc_server import Handler
    from runwasi.wire.codec import Message

ALLOWED = ()

_TASK, _SANDBOX = "containerd.task.v2.Task", "containerd.runtime.sandbox.v1.Sandbox"
_folder = tempfile.TemporaryDirectory()
_PATH = f"{_folder.name}/socket"


_faults: list[Exception] = []


def _server(reactor: Reactor) -> TtrpcServer:
    server = TtrpcServer(reactor, sockets.listen(_PATH), lambda _method, error: _faults.append(error))
    for service, methods in ((_TASK, TASK_METHODS), (_SANDBOX, SANDBOX_METHODS)):
        server.register(
            service, methods, {name: _handler(name, answer) for name, (_, answer) in methods.items()}
        )
    return server


def _handler(name: str, answer: type[Message]) -> Handler:
    def handle(_request: Message, _call: Call) -> Message | None:
        if name == "Wait":
            return None
        if name == "State":
            raise RpcError(codes.NOT_FOUND, "no such process")
        return answer()

    return handle


def run(data: bytes) -> None:
    _faults.clear()
    reactor = Reactor(on_error=_faults.append)
    server = _server(reactor)
    pieces, answers = Pieces(data), b""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(_PATH)
        peer.setblocking(False)
        while pieces:
            try:
                peer.send(pieces.take(1 + 16 * pieces.number()))
            except OSError:
                break
            answers += _turned(reactor, peer)
        _check_answers(answers)
    deserted: list[bool] = []
    server.when_deserted(60, lambda: deserted.append(True))
    _turned(reactor, None)
    assert deserted
    assert (server.waiting, server.held()) == (0, 0)
    server.close()
    reactor.close()
    os.unlink(_PATH)
    for error in _faults:
        raise AssertionError("a fault of ours") from error


def _check_answers(answers: bytes) -> None:
    for _stream, kind, body in FrameDecoder().feed(answers):
        assert kind == RESPONSE
        assert body is not None
        Response.decode(body)


def _turned(reactor: Reactor, peer: socket.socket | None) -> bytes:
    """Let the reactor do all that it can, and return what came of it."""
    received, idle = b"", 0
    while idle < 4:
        reactor.call_soon(lambda: None)  # a turn that waits for nothing
        reactor.turn()
        try:
            got = peer.recv(1 << 20) if peer else b""
        except OSError:
            got = b""
        received += got
        idle = 0 if got else idle + 1
    return received


def _request(service: str, method: str, message: Message, **more: object) -> bytes:
    return Request(service=service, method=method, payload=message.encode(), **more).encode()  # type: ignore[arg-type]


def seeds() -> Iterator[bytes]:
    create = CreateTaskRequest(
        id="c1", bundle="/run/b", stdin="/i", stdout="/o", stderr="/e", terminal=True,
        options=Any(type_url="containerd.runc.v1.Options", value=b"\x08\x01"),
    )  # fmt: skip
    requests = [
        _request(_TASK, "Create", create, timeout_nano=10**9, metadata=[KeyValue(key="k", value="v")]),
        _request(
            _TASK, "Exec", ExecProcessRequest(id="c1", exec_id="e1", spec=Any(type_url="p", value=b"{}"))
        ),
        _request(_TASK, "Wait", KillRequest(id="c1")),
        _request(_TASK, "Kill", KillRequest(id="c1", signal=9, all=True)),
        _request(_SANDBOX, "StartSandbox", KillRequest(id="c1")),
    ]
    for number, request in enumerate(requests):
        yield _cut(frame(2 * number + 1, REQUEST, request))
    yield _cut(b"".join(frame(2 * number + 1, REQUEST, request) for number, request in enumerate(requests)))
    yield _cut(frame(1, REQUEST, requests[2]) + (5 << 20).to_bytes(4, "big") + bytes(60))


def _cut(stream: bytes) -> bytes:
    """Return an input that makes run send this stream in pieces of 161 bytes."""
    return b"".join(b"\x0a" + stream[at : at + 161] for at in range(0, len(stream), 161))
