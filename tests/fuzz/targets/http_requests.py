"""HTTP/1.1 as a client of wasi:http sends it, in pieces: exactly one whole response for each request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httptools

from runwasi.wasi.http.body import HIGH_WATER
from runwasi.wasi.http.fields import HOP_BY_HOP, Fields, is_token
from runwasi.wasi.http.http1 import MAX_HEAD, MAX_PIPELINED, Http1
from runwasi.wasi.http.requests import IncomingRequest, OutgoingResponse
from tests.fuzz.harness import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runwasi.wasi.http.exchange import Exchange

ALLOWED = ()


def run(data: bytes) -> None:
    pieces, http, said, answered = Pieces(data), Http1(), b"", 0
    reads = pieces.number(2)
    while pieces and not http.is_over():
        piece = pieces.take(1 + pieces.number())
        if http.wants_input():
            http.receive(piece)
        assert len(http._waiting) <= MAX_PIPELINED + len(piece)
        assert http._incoming is None or http._incoming.body.held < HIGH_WATER + MAX_HEAD
        part, count = _served(http, reads=bool(reads))
        said, answered = said + part, answered + count
    http.end_input()
    part, count = _served(http, reads=True)
    said, answered = said + part, answered + count
    _check_responses(said, answered)
    http.close()


def _served(http: Http1, *, reads: bool) -> tuple[bytes, int]:
    said, answered = b"", 0
    while http.has_next():
        exchange = http.next()
        if not exchange.done:
            _answer(exchange, reads=reads)
        said += b"".join(http.output())
        answered += exchange.done
        if http.settle() is None or http.current is not None:
            break
    if http.current is not None:
        http.settle()
    return said, answered


def _answer(exchange: Exchange, *, reads: bool) -> None:
    request = IncomingRequest(exchange)
    for name, _ in request.headers().entries():
        assert is_token(name.encode())
        assert name not in HOP_BY_HOP
    request.method()
    request.authority()
    target = request.path_with_query() or ""
    assert "\r" not in target
    assert "\n" not in target
    if reads:
        request.consume().stream()
        exchange.body.take(4096)
    response = OutgoingResponse(Fields.from_list([("x-a", b"b")]))
    body = response.body()
    body.add(b"yes")
    exchange.respond(response)
    body.finish(body, None)


class _Counted:
    def __init__(self) -> None:
        self.complete = 0

    def on_message_complete(self) -> None:
        self.complete += 1


def _check_responses(said: bytes, answered: int) -> None:
    """Whoever reads what we said finds as many responses as there were requests."""
    counted = _Counted()
    parser = httptools.HttpResponseParser(counted)
    parser.feed_data(said.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))
    assert said.count(b"HTTP/1.1 ") == answered + said.count(b" 100 Continue"), (said, answered)


def seeds() -> Iterator[bytes]:
    get = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
    for stream in (
        get * 3,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody" + get,
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4;ext=1\r\nbody\r\n0\r\nX-T: v\r\n\r\n"
        + get,
        b"PUT http://y/z HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nok",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nother",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n",
    ):
        yield b"\1" + b"".join(b"\x3f" + stream[at : at + 64] for at in range(0, len(stream), 64))
