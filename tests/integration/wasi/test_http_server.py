"""The server for wasi:http/incoming-handler: what a client sees, and what a guest sees of it."""

from __future__ import annotations

import re
import resource
import socket
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from devtools.serving import Serving, script, serving, taking_at_most
from runwasi.wasi.component.instance_pool import GUESTS
from runwasi.wasi.http.response_counts import read_counts


@pytest.fixture(scope="module")
def hello() -> Iterator[Serving]:
    """The small component."""
    with serving("hello") as server:
        yield server


@pytest.fixture(scope="module")
def python() -> Iterator[Serving]:
    """The component that runs a request's x-script."""
    with serving("server", env={"NAME": "value", "WASMTIME_HTTP_PROXY_BACKLOG": "10"}) as server:
        yield server


def _exchange(server: Serving, data: bytes) -> bytes:
    """Send bytes and give all that comes until the server ends the connection."""
    with server.connect() as connection:
        connection.sendall(data)
        return _all(connection)


@contextmanager
def _begun(server: Serving, code: str) -> Iterator[socket.socket]:
    """Send a request but for its body, "late", and wait until the guest that runs the code has begun to respond."""
    head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n"
    with server.connect() as connection:
        connection.sendall(f"{head}X-Script: {script(code)['x-script']}\r\n\r\n".encode())
        received = b""
        while b"begun" not in received:
            received += connection.recv(4096)
        yield connection


def _all(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def _run(server: Serving, code: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    client = server.client()
    client.request(method, "/path?query=1", body=body, headers=script(code))
    response = client.getresponse()
    result = response.status, response.read()
    client.close()
    return result


# --- HTTP/1.1 towards the client


def test_a_response_comes(hello: Serving) -> None:
    client = hello.client()
    client.request("GET", "/")
    response = client.getresponse()
    assert (response.status, response.read()) == (200, b"Hello, world!\n")
    assert response.getheader("content-type") == "text/plain"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", response.getheader("date") or "")
    client.close()


def test_a_connection_serves_many_requests(hello: Serving) -> None:
    client = hello.client()
    client.connect()
    port = client.sock.getsockname()[1]
    for _ in range(50):
        client.request("POST", "/", body=b"not read by this guest")
        assert client.getresponse().read() == b"Hello, world!\n"
        assert client.sock.getsockname()[1] == port
    client.close()


def test_requests_sent_ahead_are_answered_in_order(python: Serving) -> None:
    requests = b""
    for number in range(5):
        fields = script(f"answer(out, b'number {number};')")
        requests += b"GET / HTTP/1.1\r\nHost: x\r\nX-Script: %s\r\n\r\n" % fields["x-script"].encode()
    with python.connect() as connection:
        connection.sendall(requests)
        connection.shutdown(socket.SHUT_WR)
        received = _all(connection)
    assert re.findall(rb"number (\d);", received) == [b"0", b"1", b"2", b"3", b"4"]


def test_head_has_no_body(hello: Serving) -> None:
    client = hello.client()
    for method in ("HEAD", "GET"):
        client.request(method, "/")
        response = client.getresponse()
        assert (response.status, len(response.read())) == (200, 0 if method == "HEAD" else 14)
    client.close()


def test_a_client_of_http_1_0_gets_a_body_that_ends_with_the_connection(hello: Serving) -> None:
    head, _, body = _exchange(hello, b"GET / HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert body == b"Hello, world!\n"
    assert b"chunked" not in head
    assert b"connection: close" in head


def test_connection_close_is_honoured(hello: Serving) -> None:
    received = _exchange(hello, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in received


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000, 431),
    ],
)
def test_a_malformed_request_is_refused(hello: Serving, request_: bytes, status: int) -> None:
    assert _exchange(hello, request_).startswith(b"HTTP/1.1 %d " % status)
    test_a_response_comes(hello)


def test_a_body_of_known_length_is_not_chunked(python: Serving) -> None:
    client = python.client()
    client.request("GET", "/", headers=script("answer(out, b'12345', fields=[('content-length', b'5')])"))
    response = client.getresponse()
    assert response.getheader("content-length") == "5"
    assert response.getheader("transfer-encoding") is None
    assert response.read() == b"12345"
    client.close()


def test_a_response_without_body_says_so(python: Serving) -> None:
    code = "http.ResponseOutparam.set(out, Ok(http.OutgoingResponse(http.Fields())))"
    client = python.client()
    client.request("GET", "/", headers=script(code))
    response = client.getresponse()
    assert (response.getheader("content-length"), response.read()) == ("0", b"")
    client.close()


def test_the_status_is_the_guests(python: Serving) -> None:
    assert _run(python, "answer(out, b'short and stout', status=418)") == (418, b"short and stout")


def test_an_error_in_place_of_a_response_is_a_status(python: Serving) -> None:
    code = "http.ResponseOutparam.set(out, Err(http.ErrorCode_HttpRequestDenied()))"
    assert _run(python, code)[0] == 403


# --- what the guest sees


def test_the_guest_sees_the_request(python: Serving) -> None:
    code = """
        fields = dict(request.headers().entries())
        answer(out, b"|".join([
            type(request.method()).__name__.encode(), request.path_with_query().encode(),
            request.authority().encode(), fields["x-odd"], b"host" in fields and b"host" or b"no host",
        ]))
    """
    client = python.client()
    client.request("PATCH", "/path?query=1", headers={**script(code), "X-Odd": "va lue"})
    body = client.getresponse().read()
    assert body == b"Method_Patch|/path?query=1|127.0.0.1:%d|va lue|no host" % python.port
    client.close()


def test_the_environment_is_the_containers_without_the_servers(python: Serving) -> None:
    status, body = _run(python, "answer(out, repr(environment.get_environment()).encode())")
    assert status == 200
    assert body == b"[('NAME', 'value')]"


def test_each_request_has_a_fresh_instance(python: Serving) -> None:
    code = "sys.count = getattr(sys, 'count', 0) + 1; answer(out, b'%d' % sys.count)"
    assert [_run(python, code) for _ in range(3)] == [(200, b"1")] * 3


def test_each_request_has_an_id_of_its_own_or_its_clients(python: Serving) -> None:
    code = "answer(out, request.headers().get('x-request-id')[0])"
    first, second = _run(python, code)[1], _run(python, code)[1]
    assert first != second
    client = python.client()
    client.request("GET", "/", headers={**script(code), "X-Request-Id": "client-7"})
    assert client.getresponse().read() == b"client-7"
    client.close()


# --- bodies


def test_bodies_stream_both_ways(python: Serving) -> None:
    """Each piece comes back before the next is sent, so neither side collects anything."""
    code = """
        body = begin(out)
        with body.write() as stream:
            for chunk in chunks(request):
                stream.blocking_write_and_flush(chunk.upper())
        http.OutgoingBody.finish(body, None)
    """
    with python.connect() as connection:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Script: %s\r\n\r\n"
        connection.sendall(head % script(code)["x-script"].encode())
        for number in range(3):
            connection.sendall(b"7\r\npiece %d\r\n" % number)
            received = b""
            while b"PIECE %d" % number not in received:
                received += connection.recv(1000)
        connection.sendall(b"0\r\n\r\n")
        assert _until(connection, b"0\r\n\r\n")


def _until(connection: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        received += connection.recv(65536)
    return received


def test_large_bodies_arrive_whole(python: Serving) -> None:
    code = """
        body = begin(out)
        size = 0
        with body.write() as stream:
            for chunk in chunks(request):
                size += len(chunk)
                for at in range(0, len(chunk), 4096):
                    stream.blocking_write_and_flush(chunk[at:at + 4096])
        http.OutgoingBody.finish(body, None)
    """
    data = bytes(range(256)) * 8192
    assert _run(python, code, "POST", data) == (200, data)


def test_a_slow_reader_holds_the_guest_back_not_the_server(python: Serving) -> None:
    code = """
        body = begin(out)
        with body.write() as stream:
            for _ in range(4000):
                stream.blocking_write_and_flush(b"x" * 4096)
        http.OutgoingBody.finish(body, None)
    """
    with python.connect() as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Script: %s\r\n\r\n" % script(code)["x-script"].encode())
        slow.recv(10)
        assert _run(python, "answer(out, b'meanwhile')") == (200, b"meanwhile")
        assert len(_until(slow, b"\r\n0\r\n\r\n")) > 4000 * 4096


def test_a_guest_that_waits_for_room_gets_it(python: Serving) -> None:
    code = """
        body = begin(out)
        with body.write() as stream:
            left = 1_000_000
            while left:
                while not (room := stream.check_write()):
                    stream.subscribe().block()
                stream.write(b"x" * min(room, left))
                left -= min(room, left)
        http.OutgoingBody.finish(body, None)
    """
    assert _run(python, code) == (200, b"x" * 1_000_000)


def test_trailers_pass_both_ways(python: Serving) -> None:
    code = """
        body = request.consume()
        with body.stream() as stream:
            try:
                while stream.blocking_read(1000):
                    pass
            except Err:
                pass
        future = http.IncomingBody.finish(body)
        future.subscribe().block()
        trailers = future.get().value.value.entries()
        body = begin(out)
        with body.write() as stream:
            stream.blocking_write_and_flush(repr(trailers).encode())
        http.OutgoingBody.finish(body, http.Fields.from_list([("x-last", b"word")]))
    """
    with python.connect() as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Script: %s\r\n\r\n"
            b"3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n" % script(code)["x-script"].encode()
        )
        received = _until(connection, b"\r\n\r\n") if False else _until(connection, b"x-last: word\r\n\r\n")
    assert b"[('x-sum', b'6')]" in received


def test_a_client_that_expects_100_continue_gets_it_when_the_guest_reads(python: Serving) -> None:
    code = "answer(out, b''.join(chunks(request)))"
    with python.connect() as connection:
        head = (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\nX-Script: %s\r\n\r\n"
        )
        connection.sendall(head % script(code)["x-script"].encode())
        assert _until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"data")
        assert _until(connection, b"data").startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_the_guest_left_unfinished_is_cut_off(python: Serving) -> None:
    code = """
        body = begin(out)
        with body.write() as stream:
            stream.blocking_write_and_flush(b"half")
        monotonic_clock.subscribe_duration(50_000_000).block()
    """
    received = _exchange(
        python, b"GET / HTTP/1.1\r\nHost: x\r\nX-Script: %s\r\n\r\n" % script(code)["x-script"].encode()
    )
    assert b"half" in received
    assert not received.endswith(b"0\r\n\r\n")


# --- many at once, and failures


def test_guests_that_wait_do_not_keep_others_waiting(python: Serving) -> None:
    """They wait for the rest of their requests, having begun to respond."""
    code = """
        body = begin(out)
        with body.write() as stream:
            stream.blocking_write_and_flush(b"begun, ")
            stream.blocking_write_and_flush(b"".join(chunks(request)))
        http.OutgoingBody.finish(body, None)
    """
    with ExitStack() as stack:
        waiting = [stack.enter_context(_begun(python, code)) for _ in range(10)]
        assert _run(python, "answer(out, b'at once')") == (200, b"at once")
        for connection in waiting:
            connection.sendall(b"late")
        assert all(b"late" in _all(connection) for connection in waiting)


def test_a_guest_sends_requests_of_its_own(python: Serving) -> None:
    """And waits for their answers without keeping others waiting: the answers come from the same worker."""
    inner = script("monotonic_clock.subscribe_duration(200_000_000).block(); answer(out, b'inner')")
    code = f"""
        sent = http.OutgoingRequest(http.Fields.from_list([("x-script", b"{inner["x-script"]}")]))
        sent.set_scheme(http.Scheme_Http())
        sent.set_authority("localhost:{python.port}")
        future = outgoing_handler.handle(sent, None)
        future.subscribe().block()
        response = future.get().value.value
        with response.consume().stream() as stream:
            answer(out, b"outer around " + stream.blocking_read(100))
    """
    assert _run(python, code) == (200, b"outer around inner")


def test_a_guest_may_work_on_after_its_response() -> None:
    """The client gets it, and the next on its connection, at once; the server ends when the guest has."""
    code = """
        answer(out, b'said')
        monotonic_clock.subscribe_duration(700_000_000).block()
        print("worked on", file=sys.stderr, flush=True)
    """
    with serving("server", stderr=subprocess.PIPE) as server:
        client = server.client()
        client.request("GET", "/", headers=script(code))
        assert client.getresponse().read() == b"said"
        client.request("GET", "/", headers=script("answer(out, b'next')"))
        assert client.getresponse().read() == b"next"
        client.close()
        assert server.end() == 0
        assert server.process.stderr
        assert "worked on" in server.process.stderr.read()


def test_two_guests_may_wait_for_one_descriptor(python: Serving) -> None:
    code = """
        poll.poll([stdin.get_stdin().subscribe(), monotonic_clock.subscribe_duration(300_000_000)])
        answer(out, b"woken")
    """
    results: list[tuple[int, bytes]] = []
    threads = [threading.Thread(target=lambda: results.append(_run(python, code))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(200, b"woken")] * 3


def test_a_guest_that_opens_all_descriptors_and_waits_fails_alone() -> None:
    code = """
        held = []
        try:
            while True:
                held.append(open("/etc/hostname"))
        except OSError:
            pass
        poll.poll([stdin.get_stdin().subscribe()])
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        with serving("server") as server:
            assert _run(server, code)[0] == 503
            assert _run(server, "answer(out, b'next')") == (200, b"next")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_more_requests_than_there_is_room_for_guests_wait_their_turn() -> None:
    code = b"monotonic_clock.subscribe_duration(300_000_000).block(); answer(out, b'served')"
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Script: %s\r\n\r\n" % b64encode(code)
    with serving("server") as server, ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(GUESTS + 20)]
        for connection in connections:
            connection.sendall(request)
        assert all(b"served" in _all(connection) for connection in connections)


def test_a_trap_is_a_500_that_is_counted_with_its_reason_in_the_log() -> None:
    with serving("server", stderr=subprocess.PIPE) as server:
        assert _run(server, "os.abort()")[0] == 500
        assert _run(server, "answer(out, b'next')") == (200, b"next")
        assert read_counts(server.pid()) == [1, 0, 1, 0, 0, 1]
        assert server.end() == 0
        assert server.process.stderr
        log = server.process.stderr.read()
    assert re.search(r"^runwasi: request \S+: runwasi: wasm trap: wasm `unreachable`", log, re.MULTILINE)
    assert "abort in libc.so" in log


def test_a_request_may_take_only_so_long() -> None:
    endless = "monotonic_clock.subscribe_duration(3600 * 10**9).block()"
    with serving("server", annotations={"io.runwasi.timeout": "0.3"}) as server, taking_at_most(5):
        assert _run(server, endless)[0] == 504
        assert _run(server, "answer(out, b'next')") == (200, b"next")


def test_a_guest_without_an_answer_is_a_500(python: Serving) -> None:
    assert _run(python, "pass")[0] == 500


def test_a_guest_whose_client_is_gone_is_ended(python: Serving) -> None:
    code = """
        body = begin(out)
        with body.write() as stream:
            stream.blocking_write_and_flush(b"begun")
            monotonic_clock.subscribe_duration(3600 * 10**9).block()
    """
    with _begun(python, code) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert _run(python, "answer(out, b'still there')") == (200, b"still there")


def test_the_access_log_has_a_line_for_each_request() -> None:
    with serving("hello", stderr=subprocess.PIPE, annotations={"io.runwasi.http.access-log": "on"}) as server:
        client = server.client()
        client.request("GET", "/here")
        client.getresponse().read()
        client.close()
        server.end()
        assert server.process.stderr
        assert re.search(r"^\S+ GET /here 200$", server.process.stderr.read(), re.MULTILINE)
