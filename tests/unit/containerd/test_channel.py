"""The gRPC client against grpcio's server, and against servers that misbehave."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from runwasi.containerd.channel import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    NOT_FOUND,
    UNAVAILABLE,
    UNIMPLEMENTED,
    CallError,
    Channel,
)


class Service(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not generic at run time
    """Methods on plain bytes, by their names."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.cancelled = threading.Event()

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        self.metadata = dict(call.invocation_metadata or ())
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "/t.T/Echo": grpc.unary_unary_rpc_method_handler(lambda request, _context: request),
            "/t.T/Fail": grpc.unary_unary_rpc_method_handler(self._fail),
            "/t.T/Count": grpc.unary_stream_rpc_method_handler(self._count),
            "/t.T/Endless": grpc.unary_stream_rpc_method_handler(self._endless),
            "/t.T/Join": grpc.stream_unary_rpc_method_handler(lambda requests, _context: b"".join(requests)),
            "/t.T/Refuse": grpc.stream_unary_rpc_method_handler(self._refuse),
            "/t.T/Hang": grpc.unary_unary_rpc_method_handler(self._hang),
        }
        return handlers.get(call.method)

    def _fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, request.decode())
        raise AssertionError

    def _count(self, request: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(request)):
            yield bytes(number)

    def _endless(self, _request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.cancelled.set)
        while not self.cancelled.is_set():
            yield bytes(1000)

    def _refuse(self, _requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "enough")
        raise AssertionError

    def _hang(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(60)
        return b""


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"{tmp_path}/s"


@pytest.fixture
def service(address: str) -> Iterator[Service]:
    service = Service()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[service])
    server.add_insecure_port(f"unix:{address}")
    server.start()
    yield service
    server.stop(0).wait()


def test_a_call_brings_back_its_answer(service: Service, address: str) -> None:
    with Channel(address, (("namespace", "n"),)) as channel:
        assert channel.call("/t.T/Echo", b"hello", (("lease", "l"),)) == b"hello"
        assert channel.call("/t.T/Echo", b"") == b""
    assert service.metadata["namespace"] == "n"


@pytest.mark.parametrize("size", [1, 16_379, 16_384, 65_536, 3_000_000])
def test_messages_of_any_size_pass_both_ways(service: Service, address: str, size: int) -> None:
    message = os.urandom(size)
    with Channel(f"unix://{address}") as channel:
        assert channel.call("/t.T/Echo", message) == message


def test_a_stream_of_answers_is_read_to_its_end(service: Service, address: str) -> None:
    with Channel(address) as channel:
        assert [len(answer) for answer in channel.stream("/t.T/Count", (b"300",))] == list(range(300))


def test_a_stream_of_requests_is_sent_whole(service: Service, address: str) -> None:
    pieces = [os.urandom(200_000) for _ in range(20)]
    with Channel(address) as channel:
        assert list(channel.stream("/t.T/Join", pieces)) == [b"".join(pieces)]


def test_a_stream_left_early_is_cancelled_and_the_connection_goes_on(service: Service, address: str) -> None:
    with Channel(address) as channel:
        answers = channel.stream("/t.T/Endless", (b"",))
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert service.cancelled.wait(10)
        assert channel.call("/t.T/Echo", b"still here") == b"still here"


@pytest.mark.parametrize("message", ["no such thing", 'quotes " \\ and | pipes', "grün 100% ☃", ""])
def test_a_status_is_raised_with_its_message(service: Service, address: str, message: str) -> None:
    with Channel(address) as channel:
        with pytest.raises(CallError) as failure:
            channel.call("/t.T/Fail", message.encode())
        assert (failure.value.code, str(failure.value)) == (NOT_FOUND, message)
        assert channel.call("/t.T/Echo", b"goes on") == b"goes on"


def test_a_server_that_stops_listening_is_heard(service: Service, address: str) -> None:
    with Channel(address) as channel, pytest.raises(CallError, match="enough"):
        list(channel.stream("/t.T/Refuse", (bytes(100_000) for _ in range(1000))))


def test_an_unknown_method_is_said_so(service: Service, address: str) -> None:
    with Channel(address) as channel, pytest.raises(CallError) as failure:
        channel.call("/t.T/Nothing", b"")
    assert failure.value.code == UNIMPLEMENTED


def test_a_call_ends_at_its_deadline(service: Service, address: str) -> None:
    with Channel(address, timeout=0.2) as channel, pytest.raises(CallError) as failure:
        channel.call("/t.T/Hang", b"")
    assert failure.value.code == DEADLINE_EXCEEDED
    service.cancelled.set()


def test_nobody_listening_is_an_oserror(address: str) -> None:
    with pytest.raises(FileNotFoundError):
        Channel(address)


def frame(kind: int, payload: bytes, flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


@pytest.fixture
def answering(address: str) -> Iterator[Callable[[bytes], None]]:
    """A server that reads a little, says the given bytes and hangs up."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    threads: list[threading.Thread] = []

    def serve(answer: bytes) -> None:
        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        threads.append(threading.Thread(target=run))
        threads[0].start()

    yield serve
    for thread in threads:
        thread.join(10)
    listener.close()


@pytest.mark.parametrize(
    ("answer", "code", "why"),
    [
        (b"", UNAVAILABLE, "closed by the server"),
        (frame(4, b"")[:5], UNAVAILABLE, "closed by the server"),
        (frame(7, bytes(8)), UNAVAILABLE, "shutting down"),
        (frame(3, bytes(4), stream=1), UNAVAILABLE, "call refused"),
        (frame(1, b"\xff\xff\xff\xff\xff\xff", 5, 1), INTERNAL, "too large"),
        (frame(1, b"\x88", 5, 1), INTERNAL, "without a status"),
        (frame(1, b"\x8d", 5, 1), UNAVAILABLE, "HTTP status 404"),
        (frame(0, b"\1" + bytes(4), stream=1), INTERNAL, "cannot take"),
        (frame(0, b"\0\xff\0\0\0", stream=1), INTERNAL, "cannot take"),
        (frame(1, b"", 1, 1) + frame(0, b"", stream=1), INTERNAL, "interrupted"),
    ],
)
def test_a_server_that_misbehaves_ends_the_call(
    answering: Callable[[bytes], None], address: str, answer: bytes, code: int, why: str
) -> None:
    answering(answer)
    with Channel(address, timeout=10) as channel, pytest.raises(CallError, match=why) as failure:
        channel.call("/t.T/Echo", b"hello")
    assert failure.value.code == code


def test_padded_interrupted_and_foreign_frames_are_understood(
    answering: Callable[[bytes], None], address: str
) -> None:
    message = b"\0\0\0\0\2hi"
    trailers = b"\x10\x0bgrpc-status\x010"
    answering(
        frame(4, struct.pack(">HI", 4, 100))
        + frame(6, bytes(8))
        + frame(1, b"\x02" + b"\x88" + bytes(2), 4 | 8, 1)
        + frame(99, b"unknown")
        + frame(0, b"\x03" + message[:4] + bytes(3), 8, 1)
        + frame(0, message[4:], 0, 1)
        + frame(1, trailers[:5], 1, 1)
        + frame(9, trailers[5:], 4, 1)
    )
    with Channel(address, timeout=10) as channel:
        assert channel.call("/t.T/Echo", b"hello") == b"hi"
