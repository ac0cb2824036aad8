"""The server's loop, with clients and without wasm: who is served, who is let go, when it ends."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, cast

import pytest

from runwasi.wasi.http import http_server
from runwasi.wasi.http.exchange import Exchange
from runwasi.wasi.http.fields import Fields
from runwasi.wasi.http.guest_call import Handler
from runwasi.wasi.http.http_server import HttpServer
from runwasi.wasi.http.requests import OutgoingResponse
from runwasi.wasi.http.response_counts import counts_of, make_counts

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 1 << 20


class _Call:
    """A guest that answers at once, with as many bytes as the target says."""

    suspended = False
    trouble = ""
    made = 0

    def __init__(self, _handler: Handler, exchange: Exchange) -> None:
        _Call.made += 1
        response = OutgoingResponse(Fields())
        body = response.body()
        body.add(bytes(int(exchange.head.target[1:] or 0)))
        exchange.respond(response)
        body.finish(body, None)


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """A server that lets clients go after 0.2 s; it is drained in the end."""
    monkeypatch.setattr(http_server, "GuestCall", _Call)
    monkeypatch.setattr(http_server, "CLIENT_TIMEOUT", 0.2)
    _Call.made = 0
    with _served() as found:
        yield found


@contextmanager
def _served() -> Iterator[tuple[str, int]]:
    read_end, write_end = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server = HttpServer(listener, cast("Handler", None), counts_of(make_counts(), 0))
        server.drain_on(read_end)
        thread = threading.Thread(target=server.run)
        thread.start()
        yield listener.getsockname()
        os.close(write_end)
        thread.join(20)
        assert not thread.is_alive()
    os.close(read_end)


def _all(client: socket.socket) -> bytes:
    received = b""
    while data := client.recv(1 << 20):
        received += data
    return received


def _send_on_and_on(client: socket.socket, data: bytes) -> NoReturn:
    while True:
        client.sendall(data)


def test_a_client_that_asks_nothing_is_let_go(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert _all(client) == b""


def test_an_idle_client_is_disconnected(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(GET)
        assert _all(client).count(b"HTTP/1.1 200 OK") == 1


def test_a_client_that_reads_nothing_is_disconnected(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(GET.replace(b"/", b"/%d" % (64 * LARGE), 1))
        client.sendall(GET)
        with pytest.raises(ConnectionError):
            _send_on_and_on(client, b"GET")


def test_a_client_that_never_reads_does_not_make_us_hold_ever_more(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CLIENT_TIMEOUT", 20)
    request = GET.replace(b"/", b"/%d" % LARGE, 1)
    with socket.create_connection(address, timeout=0.5) as client:
        with pytest.raises(TimeoutError):
            _send_on_and_on(client, request)
        assert _Call.made < 50


def test_requests_sent_together_are_answered_in_order(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(b"".join(GET.replace(b"/", b"/%d" % number, 1) for number in range(100)))
        client.shutdown(socket.SHUT_WR)
        heads = _all(client).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [head.partition(b"content-length: ")[2].partition(b"\r")[0] for head in heads] == [
        b"%d" % number for number in range(100)
    ]


def test_responses_due_before_draining_are_still_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "GuestCall", _Call)
    received: list[bytes] = []
    with _served() as found:
        client = socket.create_connection(found, timeout=20)
        client.sendall(GET.replace(b"/", b"/%d" % (16 * LARGE), 1))
        received.append(client.recv(1))
        reader = threading.Thread(target=lambda: received.append(_all(client)))
        reader.start()
    reader.join(20)
    client.close()
    assert len(b"".join(received)) > 16 * LARGE
