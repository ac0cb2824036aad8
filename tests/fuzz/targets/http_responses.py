"""HTTP/1.1 as a server sends it that a guest asked, in pieces: a response, an error that WIT has, or more to come."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from runwasi.wasi.component.values import Err, Ok
from runwasi.wasi.http.body import HIGH_WATER
from runwasi.wasi.http.client_exchange import ClientExchange
from runwasi.wasi.http.fields import HOP_BY_HOP, Fields
from runwasi.wasi.http.outgoing import FutureResponse
from runwasi.wasi.http.requests import IncomingResponse, OutgoingRequest, RequestOptions
from runwasi.wasi.io.streams import CHUNK
from tests.fuzz.harness import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = ()


def run(data: bytes) -> None:
    pieces = Pieces(data)
    request = OutgoingRequest(Fields())
    request.set_method((pieces.choice(("get", "head", "connect", "post")), None))
    exchange = ClientExchange(request, RequestOptions(), "127.0.0.1", 80, tls=False)
    ours, theirs = socket.socketpair()
    exchange.close()  # the look-up of the name
    ours.setblocking(False)
    exchange._socket = ours
    exchange._begin_transfer()
    future = FutureResponse(exchange)
    exchange.pump()
    while pieces and exchange._socket is not None:
        theirs.send(pieces.take(1 + pieces.number()))
        exchange.pump()
        assert exchange._body.held < HIGH_WATER + CHUNK
        exchange._body.take(CHUNK)
    theirs.close()
    while exchange._socket is not None:
        exchange.pump()
        exchange._body.take(CHUNK)
    _check(future.get())


def _check(outcome: Ok | Err | None) -> None:
    assert isinstance(outcome, Ok)  # nobody had it before
    result = outcome.value
    if isinstance(result, Err):
        assert isinstance(result.value, tuple)
        case, _ = result.value
        assert case in ("HTTP-protocol-error", "HTTP-response-incomplete", "connection-terminated"), case
        return
    assert isinstance(result, Ok)
    response = result.value
    assert isinstance(response, IncomingResponse)
    assert 200 <= response.status() <= 0xFFFF  # a u16 of WIT
    for name, _ in response.headers().entries():
        assert name not in HOP_BY_HOP
        name.encode()


def seeds() -> Iterator[bytes]:
    for number, stream in enumerate((
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: b\r\n\r\nyes",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\nX-T: v\r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\n\r\nuntil the end",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nmore",
    )):  # fmt: skip
        yield bytes((number % 4,)) + b"".join(
            b"\x3f" + stream[at : at + 64] for at in range(0, len(stream), 64)
        )
