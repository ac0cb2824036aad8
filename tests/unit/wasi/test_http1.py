"""HTTP/1.1 of a connection, without one: bytes in, exchanges out, bytes out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runwasi.wasi.http.body import HIGH_WATER
from runwasi.wasi.http.exchange import Exchange
from runwasi.wasi.http.fields import Fields
from runwasi.wasi.http.http1 import MAX_HEAD, MAX_PIPELINED, Http1
from runwasi.wasi.http.requests import OutgoingResponse

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


def _fed(*pieces: bytes) -> Http1:
    http = Http1()
    for piece in pieces:
        http.receive(piece)
    return http


def _answer(exchange: Exchange, body: bytes = b"yes") -> None:
    response = OutgoingResponse(Fields())
    content = response.body()
    content.add(body)
    exchange.respond(response)
    content.finish(content, None)


def _said(http: Http1) -> bytes:
    """Let every request that waits be answered, and give what is sent."""
    sent = b""
    while http.has_next():
        exchange = http.next()
        if not exchange.done:
            _answer(exchange, exchange.head.target.encode())
        sent += b"".join(http.output())
        http.settle()
    return sent


def test_a_request_is_begun_answered_and_over() -> None:
    http = _fed(GET)
    assert (http.state, http.is_idle()) == ("IDLE", False)
    exchange = http.next()
    assert http.state == "WORKING"
    assert http.settle() is None
    _answer(exchange)
    assert b"".join(http.output()).endswith(b"\r\n\r\nyes")
    assert http.settle() is exchange
    assert (http.state, http.current, http.is_idle(), http.is_over()) == ("IDLE", None, True, False)


@given(st.lists(st.integers(0, 3 * len(GET)), max_size=8))
def test_requests_may_come_in_any_pieces(cuts: list[int]) -> None:
    data = b"".join(GET.replace(b"/ ", b"/%d " % number) for number in range(3))
    edges = [0, *sorted(cuts), len(data)]
    http = _fed(*(data[begin:end] for begin, end in pairwise(edges) if begin < end))
    bodies = [part.partition(b"\r\n\r\n")[2] for part in _said(http).split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [b"/0", b"/1", b"/2"]


def test_a_body_arrives_with_its_exchange_and_may_come_later() -> None:
    http = _fed(POST)
    exchange = http.next()
    assert not exchange.body.readable()
    http.receive(b"da")
    http.receive(b"ta" + GET)
    assert (exchange.body.take(2), exchange.body.take(9), exchange.body.complete()) == (b"da", b"ta", True)
    assert not http.has_next(), "the response of the first is due"


def test_an_unread_body_is_skipped() -> None:
    http = _fed(POST, b"d")
    _answer(http.next())
    http.output()
    assert http.settle() is not None
    assert (http.state, http.is_idle(), http.is_over()) == ("SKIPPING", True, False)
    http.receive(b"ata" + GET)
    assert http.settle() is None
    assert http.has_next()


def test_a_full_body_makes_the_client_wait() -> None:
    http = _fed(POST.replace(b": 4", b": 9999999"))
    exchange = http.next()
    http.receive(bytes(HIGH_WATER))
    assert not http.wants_input()
    exchange.body.take(1)
    assert http.wants_input()


def test_pipelined_requests_are_limited() -> None:
    assert _fed(GET * MAX_PIPELINED).wants_input()
    http = _fed(GET * (MAX_PIPELINED + 1))
    assert not http.wants_input()
    http.next()
    assert http.wants_input()


def test_blanks_around_a_value_are_not_part_of_it() -> None:
    http = _fed(b"GET / HTTP/1.1\r\nHost: x \t\r\nA:  b c\t \r\nB: \t\r\n\r\n")
    head = http.next().head
    assert (head.authority, head.fields) == ("x", [("a", b"b c"), ("b", b"")])


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_a_client_that_wants_the_end_gets_it(version: bytes) -> None:
    http = _fed(b"GET / HTTP/%s\r\nHost: x\r\nConnection: close\r\n\r\n" % version)
    assert b"connection: close\r\n" in _said(http)
    assert http.is_over()


def test_input_after_the_last_response_is_dropped() -> None:
    http = _fed(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    _said(http)
    http.receive(GET)
    assert not http.has_next()


def test_requests_before_the_end_of_input_are_still_answered() -> None:
    http = _fed(GET, GET)
    http.end_input()
    assert not http.is_over()
    assert _said(http).count(b"HTTP/1.1 200 OK") == 2
    assert http.is_over()


def test_a_body_that_breaks_off_fails_and_ends_the_connection() -> None:
    http = _fed(GET + POST, b"d")
    http.end_input()
    first = http.next()
    _answer(first)
    http.output()
    http.settle()
    assert not first.last
    second = http.next()
    assert second.body.take(9) == b"d"
    assert second.body.failure is not None
    _answer(second)
    assert b"connection: close\r\n" in b"".join(http.output())
    http.settle()
    assert http.is_over()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (GET + b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * MAX_HEAD, 431),
    ],
)
def test_a_malformed_request_after_a_good_one_is_refused(data: bytes, status: int) -> None:
    http = _fed(data)
    assert _said(http).split(b"HTTP/1.1 ")[-1].startswith(b"%d " % status)
    assert http.is_over()
    assert not http.wants_input()


def test_trailers_without_end_are_not_collected() -> None:
    http = _fed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n")
    exchange = http.next()
    for _ in range(20):
        http.receive(b"X-Trailer: " + b"y" * 5000 + b"\r\n")
    assert exchange.body.failure is not None
    assert not http.wants_input()


def test_many_small_chunks_are_no_head() -> None:
    http = _fed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    exchange = http.next()
    for _ in range(MAX_HEAD // 2):
        http.receive(b"1\r\na\r\n")
    assert exchange.body.failure is None
    assert exchange.body.held == MAX_HEAD // 2


def test_draining_ends_what_is_idle_now_and_the_rest_with_its_response() -> None:
    idle, working = _fed(), _fed(GET + GET)
    exchange = working.next()
    for http in (idle, working):
        http.drain()
    assert idle.is_over()
    assert not working.is_over()
    _answer(exchange)
    assert b"connection: close\r\n" in b"".join(working.output())
    working.settle()
    assert working.is_over()


def test_draining_does_not_wait_for_an_unread_body() -> None:
    http = _fed(POST)
    _answer(http.next())
    http.output()
    http.settle()
    http.drain()
    assert http.is_over()


def test_an_interim_response_goes_out_when_the_guest_wants_the_body() -> None:
    http = _fed(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    exchange = http.next()
    assert http.output() == []
    exchange.wants_body()
    assert b"".join(http.output()) == b"HTTP/1.1 100 Continue\r\n\r\n"
    _answer(exchange)
    assert b"".join(http.output()).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_absolute_target_names_the_host() -> None:
    head = _fed(b"GET http://there:81/path HTTP/1.1\r\nHost: here\r\n\r\n").next().head
    assert (head.target, head.authority) == ("/path", "there:81")


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_no_input_breaks_it(pieces: list[bytes]) -> None:
    http = _fed(*pieces)
    _said(http)
    http.end_input()
    _said(http)
    http.close()
