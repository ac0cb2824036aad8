"""HTTP's rules, without a socket: header fields, framing, addresses to listen on."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.engines.engine import CannotHandle, Context, EngineError, Module
from runwasi.wasi.component.values import Err
from runwasi.wasi.http.body import OutgoingBody
from runwasi.wasi.http.exchange import Exchange
from runwasi.wasi.http.fields import Fields
from runwasi.wasi.http.framing import Framing
from runwasi.wasi.http.http_settings import HttpSettings
from runwasi.wasi.http.requests import OutgoingRequest, OutgoingResponse, RequestHead


class _Response:
    """A response on its way: what a guest says, and what is sent of it."""

    def __init__(self, method: str = "get", version: str = "1.1") -> None:
        self.exchange = Exchange(RequestHead((method, None), version=version))
        self.sent = b""
        self._framing = Framing()

    def respond(self, *pieces: bytes, status: int = 200, **fields: bytes) -> OutgoingBody:
        entries = [(name.replace("_", "-"), value) for name, value in fields.items()]
        response = OutgoingResponse(Fields.from_list(entries))
        response.set_status_code(status)
        body = response.body()
        self.exchange.respond(response)
        for piece in pieces:
            body.add(piece)
        return body

    def send(self) -> None:
        self.sent += b"".join(self._framing.take(self.exchange))


def test_a_body_that_is_there_at_once_has_its_length() -> None:
    response = _Response()
    OutgoingBody.finish(response.respond(b"abc", b"de"), None)
    response.send()
    assert response.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.sent.endswith(b"content-length: 5\r\n\r\nabcde")


def test_a_body_that_comes_in_pieces_is_chunked() -> None:
    response = _Response()
    body = response.respond(b"abc")
    response.send()
    body.add(b"")
    body.add(b"de")
    OutgoingBody.finish(body, Fields([("sum", b"6")]))
    response.send()
    response.send()
    chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\nsum: 6\r\n\r\n"
    assert response.sent.endswith(b"transfer-encoding: chunked\r\n\r\n" + chunks)


def test_a_client_of_1_0_gets_no_chunks() -> None:
    response = _Response(version="1.0")
    response.respond(b"abc")
    response.send()
    assert response.sent.endswith(b"connection: close\r\n\r\nabc")
    assert response.exchange.last


@pytest.mark.parametrize(("method", "status"), [("head", 200), ("get", 204), ("get", 304)])
def test_some_responses_have_no_body(method: str, status: int) -> None:
    response = _Response(method)
    OutgoingBody.finish(response.respond(b"abc", status=status), None)
    response.send()
    assert response.sent.endswith(b"\r\n\r\n")
    assert b"abc" not in response.sent


def test_a_declared_length_is_kept_to() -> None:
    body = _Response().respond(content_length=b"5")
    body.add(b"1234")
    with pytest.raises(Err) as too_long:
        body.add(b"56")
    assert too_long.value.value[0] == "last-operation-failed"  # type: ignore[index]
    with pytest.raises(Err) as short:
        OutgoingBody.finish(_Response().respond(b"1", content_length=b"5"), None)
    assert short.value.value == ("HTTP-response-body-size", 1)


def test_a_response_begun_and_given_up_ends_the_connection() -> None:
    response = _Response()
    body = response.respond(b"abc")
    response.send()
    body.drop()
    response.send()
    assert response.exchange.aborted
    assert not response.sent.endswith(b"0\r\n\r\n")


def test_a_response_given_up_before_it_began_is_a_500() -> None:
    response = _Response()
    response.respond().drop()
    response.send()
    assert response.sent.startswith(b"HTTP/1.1 500 ")


@given(st.text(max_size=20), st.binary(max_size=20))
def test_no_field_can_add_a_line(name: str, value: bytes) -> None:
    response = _Response()
    try:
        answer = OutgoingResponse(Fields.from_list([(name, value)]))
    except Err:
        return
    response.exchange.respond(answer)
    response.send()
    head = response.sent.partition(b"\r\n\r\n")[0]
    assert (
        len(head.split(b"\r\n")) <= 4
    )  # status, the field, date, content-length; the field may be one of these
    assert b"\n" not in head.replace(b"\r\n", b"")


@pytest.mark.parametrize("name", ["Connection", "transfer-encoding", "Host", "keep-alive", "upgrade"])
def test_fields_of_the_connection_are_forbidden(name: str) -> None:
    with pytest.raises(Err) as refused:
        Fields().append(name, b"x")
    assert refused.value.value == ("forbidden", None)


def test_fields_that_arrived_cannot_be_changed() -> None:
    with pytest.raises(Err) as refused:
        Fields([("a", b"b")], immutable=True).append("c", b"d")
    assert refused.value.value == ("immutable", None)


@pytest.mark.parametrize("target", ["/a b", "/a\r\nHost: x", "/\x7f"])
def test_a_target_stays_one_word(target: str) -> None:
    with pytest.raises(Err):
        OutgoingRequest(Fields()).set_path_with_query(target)


def _settings(*env: str) -> HttpSettings:
    return HttpSettings(Context(["app"], Module("app", -1), env=env))


def test_the_default_is_every_address_on_8080() -> None:
    settings = _settings()
    assert (settings.host, settings.port, settings.backlog) == ("0.0.0.0", 8080, 100)


def test_an_ipv6_address_has_brackets() -> None:
    settings = _settings("WASMTIME_HTTP_PROXY_SOCKET_ADDR=[::1]:81")
    assert (settings.host, settings.port) == ("::1", 81)


@pytest.mark.parametrize("address", ["", "8080", "host:80", "1.2.3.4", "1.2.3.4:x", "[::1]", "1.2.3.4:70000"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(CannotHandle, match="WASMTIME_HTTP_PROXY_SOCKET_ADDR"):
        _settings(f"WASMTIME_HTTP_PROXY_SOCKET_ADDR={address}")


def test_a_listener_that_cannot_be_made_is_refused_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(EngineError, match=r"cannot listen on 0\.0\.0\.0:8080: Address family not supported"):
        _settings()._listen()


def test_the_guest_does_not_see_the_servers_settings() -> None:
    pairs = [("A", "1"), ("WASMTIME_HTTP_PROXY_BACKLOG", "5"), ("WASMTIME_HTTP_PROXY_SOCKET_ADDR", "x")]
    assert HttpSettings.guest_env(pairs) == [("A", "1")]
