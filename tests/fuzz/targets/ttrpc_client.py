"""The ttrpc client that publishes events: whatever the server says, the call ends once or goes on waiting."""

from __future__ import annotations

import socket
import tempfile
from typing import TYPE_CHECKING

from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.server.ttrpc_client import TtrpcClient
from runwasi.wire.codec import WireError
from runwasi.wire.messages.event_forward import ForwardRequest
from runwasi.wire.messages.status import Status
from runwasi.wire.messages.ttrpc import Response
from runwasi.wire.ttrpc_frames import RESPONSE, frame
from tests.fuzz.harness import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = ()

_EVENTS = "containerd.services.events.ttrpc.v1.Events"

_folder = tempfile.TemporaryDirectory()
_PATH = f"{_folder.name}/socket"
_listener = socket.socket(socket.AF_UNIX)
_listener.bind(_PATH)
_listener.listen()


def run(data: bytes) -> None:
    faults: list[Exception] = []
    outcomes: list[Exception | None] = []
    reactor = Reactor(on_error=faults.append)
    client = TtrpcClient(reactor, _PATH)
    client.call(_EVENTS, "Forward", ForwardRequest(), {}, 60, outcomes.append)
    server, _ = _listener.accept()
    with server:
        pieces = Pieces(data)
        while pieces and not outcomes:
            server.send(pieces.take(1 + 16 * pieces.number()))
            reactor.call_soon(lambda: None)  # a turn that waits for nothing
            reactor.turn()
    if not outcomes:
        reactor.turn()
    client.close()
    reactor.close()
    assert not faults, faults
    (outcome,) = outcomes
    assert outcome is None or isinstance(outcome, (RpcError, WireError, OSError))


def seeds() -> Iterator[bytes]:
    yield b"\x40" + frame(1, RESPONSE, b"")
    yield b"\x40" + frame(1, RESPONSE, Response(status=Status(code=5, message="no")).encode())
    yield b"\x40" + frame(3, RESPONSE, b"x") + frame(1, RESPONSE, Response(payload=b"yes").encode())
