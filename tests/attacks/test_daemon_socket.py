"""Whoever reaches the node daemon's socket sends it packets that are no calls, and calls whose words are lies.

Only root reaches the socket. Even so the daemon answers or hangs up, serves others on, and keeps nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest

from devtools.daemon import Daemon
from devtools.ttrpc import Peer, task_service
from devtools.waiting import until
from runwasi import __version__
from runwasi.shim.client import packet
from runwasi.shim.client.packet import CallPacket
from runwasi.wire.messages.task_types import RUNNING
from tests.integration.conftest import BundleMaker
from tests.support.node_daemon import connected
from tests.support.shim import RunningShim, Shim, running

NORMAL, SHARED = "containerd-shim-wasmtime-v1", "containerd-shim-wasmtimed-v1"
_LONG = "x" * 5000
_NAMES = ("", ".", "..", "../..", "/", "a/b", "a\nb", "\udcff", _LONG)


@pytest.fixture
def neighbour(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> Iterator[RunningShim]:
    """A pod that the daemon serves while it is attacked."""
    with running(shared_shim, container_id, bundle(["sleep", "1000"])) as task:
        task.run()
        yield task
        assert [line for line in shared_shim.log(task.bundle).splitlines() if "traceback" in line] == []


@pytest.fixture
def outside(folder: Path) -> Path:
    """A folder of the host, with a file, that nothing may change."""
    path = folder / "outside"
    path.mkdir()
    (path / "file").write_text("of the host")
    return path


def call(*arguments: str, program: str = NORMAL, stdin: bytes = b"", **variables: str) -> bytes:
    return CallPacket(__version__, program, arguments, variables, stdin).encode()


def answers(daemon: Daemon, data: bytes, fds: Sequence[int]) -> list[tuple[int, int, bytes, bytes]]:
    """Send a packet and return all replies until the daemon, or its fork, hangs up."""
    replies = []
    with connected(daemon) as peer, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        socket.send_fds(peer, [data], fds)
        while reply := peer.recv(packet.MAX_REPLY):
            replies.append(packet.read_reply(reply))
    return replies


def check(daemon: Daemon, neighbour: RunningShim, before: int) -> None:
    """Have the daemon and the pod answer, and wait until nothing is open that was not before."""
    with descriptors("folder") as fds:
        assert answers(daemon, call("-v"), fds)[-1][:2] == (packet.ANSWER, 0)
    assert neighbour.call("State").status == RUNNING
    until(lambda: open_descriptors(daemon), lambda now: now <= before, seconds=20)


def open_descriptors(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


@contextlib.contextmanager
def descriptors(*kinds: str) -> Iterator[list[int]]:
    """Open a descriptor of each kind."""
    with contextlib.ExitStack() as stack:
        fds = []
        for kind in kinds:
            if kind == "folder":
                fd = os.open("/", os.O_PATH)
            elif kind == "file":
                fd = os.open("/etc/passwd", os.O_RDONLY)
            elif kind == "device":
                fd = os.open("/dev/null", os.O_RDWR)
            elif kind == "pipe":
                fd, other = os.pipe()
                stack.callback(os.close, other)
            elif kind == "memory":
                fd = os.memfd_create("memory")
            else:
                fd = socket.socket(socket.AF_UNIX).detach()
            stack.callback(os.close, fd)
            fds.append(fd)
        yield fds


_HEAD = struct.Struct("=8s3I")
_WORDS = f"{__version__}\0{NORMAL}\0-v\0".encode()


def lying(arguments: int, variables: int, size: int, rest: bytes = _WORDS) -> bytes:
    """Return a packet whose head says these numbers."""
    return _HEAD.pack(packet.MAGIC, arguments, variables, size) + rest


MOST = (1 << 32) - 1
NO_CALLS = {
    "a byte": b"x",
    "half a head": call("-v")[:10],
    "a head alone": call("-v")[: _HEAD.size],
    "half a call": call("-v")[:-3],
    "another magic": b"runwasi2" + call("-v")[8:],
    "noise": bytes(range(256)) * 100,
    "the longest noise": b"\xff" * packet.MAX_CALL,
    "too long": packet.MAGIC + b"x" * packet.MAX_CALL,
    "fewer arguments than it says": lying(2, 0, 0),
    "more arguments than it says": lying(0, 0, 0),
    "most arguments": lying(MOST, 0, 0),
    "arguments and variables that overflow": lying(MOST, 2, 0),
    "more input than there is": lying(1, 0, MOST),
    "input instead of words": lying(1, 0, len(_WORDS)),
    "zeros": lying(1, 0, 0, b"\0" * 1000),
}
KINDS = ("folder", "file", "device", "pipe", "memory", "socket")


def test_a_malformed_call_is_hung_up_on(daemon: Daemon, neighbour: RunningShim) -> None:
    before = open_descriptors(daemon)
    for data in NO_CALLS.values():
        with descriptors("folder") as fds:
            assert answers(daemon, data, fds) == []
    for count in (0, 2, 253):
        with descriptors(*["folder"] * min(count, 1)) as fds:
            assert answers(daemon, call("-v"), fds * count) == []
    check(daemon, neighbour, before)


def test_peers_in_every_half_state_hold_up_nobody(daemon: Daemon, neighbour: RunningShim) -> None:
    before = open_descriptors(daemon)
    with contextlib.ExitStack() as stack, descriptors(*KINDS) as fds:
        for ending in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR, None):
            for data in (b"", *NO_CALLS.values(), call("-v")):
                peer = stack.enter_context(connected(daemon))
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    if data:
                        socket.send_fds(peer, [data], [*fds, peer.fileno()])
                        for _ in range(50):  # more than it reads, and descriptors with each
                            socket.send_fds(peer, [b"x"], fds * 40, socket.MSG_DONTWAIT)
                with contextlib.suppress(OSError):
                    if ending is not None:
                        peer.shutdown(ending)
        with descriptors("folder") as folder:
            assert answers(daemon, call("-v"), folder)[-1][:2] == (packet.ANSWER, 0)
    check(daemon, neighbour, before)


def hostile_words(outside: Path) -> Iterator[list[str]]:
    """Yield arguments of a shim, each of its flags in turn with a value that is a lie."""
    good = {
        "-namespace": "none",
        "-id": "none",
        "-address": "/nowhere.sock",
        "-bundle": str(outside / "none"),
    }
    for action in ("start", "delete", "", "-v", "stop"):
        for flag in (*good, "-socket", "-group", "-publish-binary"):
            for value in _NAMES:
                words = [word for pair in {**good, flag: value}.items() for word in pair]
                yield [*words, action]
    yield from (
        ["-namespace"],
        ["-v=maybe"],
        ["--"],
        ["-"],
        ["", ""],
        ["-h"] * 5000,
        ["-handover", "7", "start"],
    )


def shut_down(address: str) -> None:
    """End a pod that has been served for nobody."""
    with Peer(address) as peer:
        task_service(peer).call("Shutdown")


@pytest.mark.parametrize("program", [NORMAL, SHARED, "", "../../bin/sh"])
def test_calls_whose_words_are_lies_change_nothing(
    daemon: Daemon, neighbour: RunningShim, outside: Path, program: str
) -> None:
    before = open_descriptors(daemon)
    statuses = set()
    with contextlib.ExitStack() as stack:
        folder = os.open(outside, os.O_PATH)
        stack.callback(os.close, folder)
        for words in hostile_words(outside):
            for kind, status, output, errors in answers(daemon, call(*words, program=program), [folder]):
                statuses.add((kind, status))
                assert b"Traceback" not in errors
                if output.startswith(b"unix://"):
                    shut_down(output.decode())
    print(program, statuses)
    assert set(os.listdir(outside)) <= {"file", "address"}  # of a pod that was served
    assert (outside / "file").read_text() == "of the host"
    check(daemon, neighbour, before)


def test_a_folder_that_is_none_is_refused(daemon: Daemon, neighbour: RunningShim) -> None:
    before = open_descriptors(daemon)
    for kind, program, action in product(KINDS[1:], (NORMAL, SHARED), ("start", "delete")):
        words = ["-namespace", "none", "-id", "none", "-address", "/nowhere.sock", action]
        with descriptors(kind) as fds:
            for said, status, *_ in answers(daemon, call(*words, program=program), fds):
                assert said != packet.ANSWER or status or action == "delete"
    check(daemon, neighbour, before)


def test_input_that_is_nonsense_is_told(daemon: Daemon, neighbour: RunningShim) -> None:
    before = open_descriptors(daemon)
    for stdin in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"[" * 60_000, b"\n\0" * 1000):
        for program in (NORMAL, SHARED):
            with descriptors("folder") as fds:
                for _, _, _, errors in answers(daemon, call("-info", program=program, stdin=stdin), fds):
                    assert b"Traceback" not in errors
    check(daemon, neighbour, before)
