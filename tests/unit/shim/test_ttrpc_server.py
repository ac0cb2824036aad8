"""The ttrpc server, driven in this process over a socket pair's worth of real unix socket."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devtools.ttrpc import CallError, Peer
from runwasi.linux import sockets
from runwasi.shim.server import codes
from runwasi.shim.server.call import Call
from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.server.ttrpc_server import TtrpcServer
from runwasi.wire.messages.task import (
    TASK_METHODS,
    ConnectRequest,
    ConnectResponse,
    StateRequest,
    StateResponse,
    WaitRequest,
    WaitResponse,
)
from runwasi.wire.messages.ttrpc import Request, Response
from runwasi.wire.messages.well_known import Empty
from runwasi.wire.ttrpc_frames import MAX_LENGTH, REQUEST, FrameDecoder, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runwasi.wire.codec import Message

SERVICE = "containerd.task.v2.Task"


class Served:
    """A server in a thread of its own, with one method of each temper."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[str] = []
        self.held: list[Call] = []
        self.reactor = Reactor(on_error=lambda error: self.faults.append(repr(error)))
        self.server = TtrpcServer(
            self.reactor,
            sockets.listen(str(path)),
            lambda method, error: self.faults.append(f"{method} {error!r}"),
        )
        handlers = {
            "Connect": self.connect,
            "State": self.state,
            "Wait": self.wait,
            "Kill": self.kill,
            "Shutdown": self.shutdown,
        }
        self.server.register(SERVICE, TASK_METHODS, handlers)
        self._wake, self._waker = os.pipe()
        self.reactor.watch(self._wake, lambda _events: self.reactor.stop())
        self._thread = threading.Thread(target=self.reactor.run)
        self._thread.start()

    def connect(self, request: Message, _call: Call) -> Message:
        assert isinstance(request, ConnectRequest)
        return ConnectResponse(version=request.id)

    def state(self, request: Message, _call: Call) -> Message:
        assert isinstance(request, StateRequest)
        if request.id == "large":
            return StateResponse(id="x" * (MAX_LENGTH + 1))
        raise RpcError(codes.NOT_FOUND, "container not created")

    def wait(self, request: Message, call: Call) -> None:
        assert isinstance(request, WaitRequest)
        self.held.append(call)

    def kill(self, _request: Message, _call: Call) -> Message:
        for call in self.held:
            call.reply(WaitResponse(exit_status=7))
        return Empty()

    def shutdown(self, _request: Message, _call: Call) -> Message:
        raise ZeroDivisionError("a bug")

    def close(self) -> None:
        os.write(self._waker, b"x")
        self._thread.join()
        self.server.close()
        self.reactor.close()
        os.close(self._wake)
        os.close(self._waker)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "s")
    yield served
    served.close()


@pytest.fixture
def peer(served: Served) -> Iterator[Peer]:
    with Peer(served.path) as peer:
        yield peer


def echo(peer: Peer, text: str = "hi") -> str:
    return ConnectResponse.decode(peer.call(SERVICE, "Connect", ConnectRequest(id=text).encode())).version


def test_a_call_is_answered_on_its_stream_byte_for_byte(peer: Peer) -> None:
    request = Request(service=SERVICE, method="Connect", payload=b"\x0a\x02hi").encode()
    peer.socket.sendall(len(request).to_bytes(4, "big") + b"\0\0\0\x01" + b"\x01\0" + request)
    answer = peer.receive_frame()
    assert answer == (1, 2, Response(payload=b"\x1a\x02hi").encode())
    assert Response.decode(answer[2]).status is None


def test_an_empty_answer_is_a_frame_without_data(served: Served, peer: Peer) -> None:
    peer.send(SERVICE, "Kill", b"")
    assert peer.receive_frame() == (1, 2, b"")


def test_an_error_carries_code_and_words(peer: Peer) -> None:
    with pytest.raises(CallError) as caught:
        peer.call(SERVICE, "State", b"")
    assert (caught.value.code, caught.value.message) == (5, "container not created: not found")


@pytest.mark.parametrize(("service", "method"), [("no.such.Service", "State"), (SERVICE, "Frobnicate")])
def test_unknown_services_and_methods_are_not_implemented(peer: Peer, service: str, method: str) -> None:
    with pytest.raises(CallError) as caught:
        peer.call(service, method, b"")
    assert caught.value.code == codes.UNIMPLEMENTED
    assert echo(peer) == "hi"


def test_a_malformed_payload_is_an_internal_error(peer: Peer) -> None:
    with pytest.raises(CallError) as caught:
        peer.call(SERVICE, "State", b"\x0a\xff")
    assert caught.value.code == codes.INTERNAL


def test_a_malformed_request_is_an_invalid_argument(peer: Peer) -> None:
    peer.send_frame(1, REQUEST, b"\x0a\xff")
    with pytest.raises(CallError) as caught:
        peer.receive(1)
    assert caught.value.code == codes.INVALID_ARGUMENT


def test_a_frame_too_long_is_skipped_and_the_connection_goes_on(peer: Peer) -> None:
    peer.send_frame(1, REQUEST, b"x" * (MAX_LENGTH + 1))
    with pytest.raises(CallError) as caught:
        peer.receive(1)
    assert caught.value.code == codes.RESOURCE_EXHAUSTED
    peer._next_stream = 3
    assert echo(peer) == "hi"


def test_an_answer_too_long_becomes_an_error(peer: Peer) -> None:
    with pytest.raises(CallError) as caught:
        peer.call(SERVICE, "State", StateRequest(id="large").encode())
    assert caught.value.code == codes.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("streams", [(2,), (0,), (3, 3), (5, 3)])
def test_streams_must_be_odd_and_increase(peer: Peer, streams: tuple[int, ...]) -> None:
    request = Request(service=SERVICE, method="Connect", payload=b"").encode()
    for stream in streams:
        peer.send_frame(stream, REQUEST, request)
    for stream in streams[:-1]:
        peer.receive(stream)
    with pytest.raises(CallError) as caught:
        peer.receive(streams[-1])
    assert caught.value.code == codes.INVALID_ARGUMENT


def test_a_stream_id_used_again_does_not_end_the_call_it_names(served: Served, peer: Peer) -> None:
    peer.send(SERVICE, "Wait", b"")
    peer.send_frame(1, REQUEST, Request(service=SERVICE, method="Connect").encode())
    with pytest.raises(CallError):
        peer.receive(1)
    peer.call(SERVICE, "Kill", b"")
    assert WaitResponse.decode(peer.receive(1)).exit_status == 7


def test_frames_of_unknown_types_are_ignored(peer: Peer) -> None:
    peer.send_frame(1, 9, b"whatever")
    assert echo(peer) == "hi"


def test_a_held_call_lets_others_pass(peer: Peer) -> None:
    waiting = peer.send(SERVICE, "Wait", b"")
    assert echo(peer, "meanwhile") == "meanwhile"
    peer.call(SERVICE, "Kill", b"")
    assert WaitResponse.decode(peer.receive(waiting)).exit_status == 7


def test_a_held_call_ends_at_the_clients_deadline(peer: Peer) -> None:
    waiting = peer.send(SERVICE, "Wait", b"", timeout_nano=50_000_000)
    with pytest.raises(CallError) as caught:
        peer.receive(waiting)
    assert caught.value.code == codes.DEADLINE_EXCEEDED


def test_a_bug_in_a_handler_is_reported_and_answered(served: Served, peer: Peer) -> None:
    with pytest.raises(CallError) as caught:
        peer.call(SERVICE, "Shutdown", b"")
    assert caught.value.code == codes.UNKNOWN
    assert served.faults == ["Shutdown ZeroDivisionError('a bug')"]
    assert echo(peer) == "hi"


def test_a_peer_that_writes_byte_by_byte_is_served(served: Served) -> None:
    request = frame(1, REQUEST, Request(service=SERVICE, method="Connect", payload=b"\x0a\x02hi").encode())
    with Peer(served.path) as slow, Peer(served.path) as other:
        for byte in request:
            slow.socket.send(bytes([byte]))
            echo(other)
        assert ConnectResponse.decode(slow.receive(1)).version == "hi"


def test_a_peer_that_does_not_read_is_no_longer_read_from(served: Served) -> None:
    deaf = socket.socket(socket.AF_UNIX)
    deaf.setblocking(False)
    deaf.connect(str(served.path))
    request = Request(
        service=SERVICE, method="Connect", payload=ConnectRequest(id="x" * 4096).encode()
    ).encode()
    sent, stream = 0, 1
    with pytest.raises(BlockingIOError):  # noqa: PT012
        while sent < 64 << 20:
            sent += deaf.send(frame(stream, REQUEST, request))
            stream += 2
    assert sent < 8 << 20
    with Peer(served.path) as other:
        assert echo(other) == "hi"
    deaf.close()


def test_calls_of_a_closed_connection_are_forgotten(served: Served) -> None:
    with Peer(served.path) as gone:
        gone.send(SERVICE, "Wait", b"")
        echo(gone)
    with Peer(served.path) as other:
        other.call(SERVICE, "Kill", b"")
        assert echo(other) == "hi"
    assert all(call.done for call in served.held)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 255), st.binary(max_size=40))), st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame(number, kind, body) for number, kind, body in frames)
    decoder, got = FrameDecoder(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        got += list(decoder.feed(stream[:cut]))
        stream = stream[cut:]
    assert got == frames


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=64)))
def test_any_bytes_leave_the_decoder_holding_at_most_one_frame(parts: list[bytes]) -> None:
    decoder = FrameDecoder()
    for part in parts:
        for _stream, _kind, body in decoder.feed(part):
            assert body is None or len(body) <= MAX_LENGTH
    assert len(decoder._buffer) <= 10 + MAX_LENGTH


def test_another_user_is_turned_away_even_where_the_socket_would_let_him() -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    served = Served(folder / "s")
    (folder / "s").chmod(0o666)
    try:
        child = os.fork()
        if child == 0:
            os._exit(_was_turned_away(folder / "s"))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with Peer(served.path) as peer:
            assert echo(peer) == "hi"
    finally:
        served.close()
        shutil.rmtree(folder)


def _was_turned_away(path: Path) -> int:
    """As nobody, call the server and see the connection closed; 0 if so, 1 if it answers."""
    try:
        os.seteuid(65534)
        with Peer(path) as peer:
            echo(peer)
        return 1
    except (EOFError, ConnectionError):
        return 0
    except BaseException:  # noqa: BLE001  the fork of a test must not run the test's code
        return 2


def test_clients_that_are_connected_are_served_when_no_others_are_accepted(
    served: Served, peer: Peer
) -> None:
    assert echo(peer) == "hi"
    stopped = threading.Event()

    def stop() -> None:
        served.server.stop_listening()
        stopped.set()

    served.reactor.call_soon(stop)
    assert echo(peer) == "hi"  # wakes the loop
    assert stopped.wait(10)
    with pytest.raises(ConnectionRefusedError):
        Peer(served.path)
    assert echo(peer) == "hi"


def test_the_end_waits_until_every_client_has_closed(served: Served, peer: Peer) -> None:
    deserted = threading.Event()
    with Peer(served.path) as other:
        assert echo(other) == "hi"
        served.reactor.call_soon(lambda: served.server.when_deserted(60, deserted.set))
        assert echo(peer) == "hi"
        peer.close()
        assert echo(other) == "hi"
        assert not deserted.is_set()
    assert deserted.wait(10)


def test_a_client_that_never_closes_is_waited_for_no_longer_than_said(served: Served, peer: Peer) -> None:
    deserted = threading.Event()
    served.reactor.call_soon(lambda: served.server.when_deserted(0.1, deserted.set))
    assert echo(peer) == "hi"
    assert deserted.wait(10)
    assert echo(peer) == "hi"
