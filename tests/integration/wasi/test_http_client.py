"""wasi:http/outgoing-handler on our own WASI, against the standard library's server."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from devtools.serving import free_port, run, shell

FETCH = """
def send(method, path, body=None, fields=(), authority="127.0.0.1:{port}", options=None):
    request = http.OutgoingRequest(http.Fields.from_list(list(fields)))
    request.set_method(method)
    request.set_scheme(http.Scheme_Http())
    request.set_authority(authority)
    request.set_path_with_query(path)
    content = request.body()
    future = outgoing_handler.handle(request, options)
    if body is not None:
        with content.write() as stream:
            for at in range(0, len(body), 4096):
                stream.blocking_write_and_flush(body[at : at + 4096])
    http.OutgoingBody.finish(content, None)
    future.subscribe().block()
    answer = future.get()
    return answer.value if isinstance(answer, Ok) else answer

def read(response):
    data = b""
    with response.consume().stream() as stream:
        while True:
            try:
                data += stream.blocking_read(65536)
            except Err:
                return data

def failure(*args, **kwargs):
    answer = send(*args, **kwargs)
    return type(answer.value).__name__ if isinstance(answer, Err) else answer.value.status()

"""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number in range(3):
                self.wfile.write(b"6\r\npart %d\r\n" % number)
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/stall":
            self.rfile.read(1)  # until the client gives up
            self.close_connection = True
        elif self.path == "/cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
            self.close_connection = True
        elif self.path == "/nonsense":
            self.wfile.write(b"this is not HTTP\r\n\r\n")
            self.close_connection = True
        else:
            self._answer(b"got %s %s" % (self.path.encode(), self.headers["x-one"].encode()))

    def do_POST(self) -> None:
        if self.headers["Transfer-Encoding"] == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"%d bytes" % len(body), status=201)

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Two", "second")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server's port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def _run(port: int, script: str, **job: object) -> list[str]:
    return shell(FETCH.replace("{port}", str(port)) + script, **job).splitlines()


def test_a_response_comes_with_status_fields_and_body(port: int) -> None:
    script = """
response = send(http.Method_Get(), "/path?query", fields=[("x-one", b"first")]).value
print(response.status(), response.headers().get("x-two"), read(response))
"""
    assert _run(port, script) == ["200 [b'second'] b'got /path?query first'"]


def test_a_body_is_sent_in_chunks_or_with_its_length(port: int) -> None:
    script = """
body = b"x" * 300_000
for fields in ([], [("content-length", b"300000")]):
    response = send(http.Method_Post(), "/", body, fields).value
    print(response.status(), read(response))
"""
    assert _run(port, script) == ["201 b'300000 bytes'"] * 2


def test_a_response_in_chunks_is_put_together(port: int) -> None:
    assert _run(port, 'print(read(send(http.Method_Get(), "/chunks").value))') == ["b'part 0part 1part 2'"]


def test_failures_have_their_names(port: int) -> None:
    script = f"""
print(failure(http.Method_Get(), "/", authority="127.0.0.1:{free_port()}"))
print(failure(http.Method_Get(), "/", authority="no-such-host.invalid"))
print(failure(http.Method_Get(), "/nonsense"))
options = http.RequestOptions()
options.set_first_byte_timeout(200_000_000)
print(failure(http.Method_Get(), "/stall", options=options))
"""
    assert _run(port, script) == [
        "ErrorCode_ConnectionRefused",
        "ErrorCode_DnsError",
        "ErrorCode_HttpProtocolError",
        "ErrorCode_ConnectionReadTimeout",
    ]


def test_a_body_cut_short_fails_to_read(port: int) -> None:
    script = """
stream = send(http.Method_Get(), "/cut").value.consume().stream()
print(stream.blocking_read(100))
try:
    stream.blocking_read(100)
except Err as error:
    print(type(error.value).__name__, type(http.http_error_code(error.value.value)).__name__)
"""
    assert _run(port, script) == [
        "b'short'",
        "StreamError_LastOperationFailed ErrorCode_HttpResponseIncomplete",
    ]


def test_no_request_leaves_with_the_network_off(port: int) -> None:
    script = """
try:
    send(http.Method_Get(), "/")
except Err as error:
    print(type(error.value).__name__)
"""
    assert _run(port, script, annotations={"io.runwasi.network": "off"}) == ["ErrorCode_HttpRequestDenied"]


def test_a_name_that_is_no_certificates_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        plain_port = plain.getsockname()[1]
        thread = threading.Thread(target=_talk_plainly, args=(plain,))
        thread.start()
        script = f"""
request = http.OutgoingRequest(http.Fields())
request.set_authority("127.0.0.1:{plain_port}")
future = outgoing_handler.handle(request, None)
future.subscribe().block()
print(type(future.get().value.value).__name__)
"""
        result = run("shell", stdin=script)
        thread.join(10)
    assert result.stdout == "ErrorCode_TlsProtocolError\n"


def _talk_plainly(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
