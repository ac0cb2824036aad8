"""The ttrpc client that publishes events: whatever the server says, the call ends once or goes on waiting."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.server.ttrpc_client import Client
from runwasi.shim.server.ttrpc_server import RESPONSE, Frames, Sender, frame
from runwasi.wire.codec import WireError
from runwasi.wire.messages.event_forward import ForwardRequest
from runwasi.wire.messages.status import Status
from runwasi.wire.messages.ttrpc import Response
from tests.fuzz.harness import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = ()


def run(data: bytes) -> None:
    faults: list[Exception] = []
    outcomes: list[Exception | None] = []
    reactor = Reactor(on_error=faults.append)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    client = Client(reactor, "/nowhere")
    client._fd, client._stream, client._frames = ours.detach(), -1, Frames()
    client._sender = Sender(reactor, client._fd)
    reactor.watch(client._fd, client._ready)
    client.call(
        "containerd.services.events.ttrpc.v1.Events", "Forward", ForwardRequest(), {}, 60, outcomes.append
    )
    pieces = Pieces(data)
    while pieces and not outcomes:
        theirs.send(pieces.take(1 + 16 * pieces.number()))
        reactor.call_soon(lambda: None)
        reactor.turn()
    theirs.close()
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
