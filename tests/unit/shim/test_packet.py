"""Packets between shims and the node daemon, and the two programs that make them."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devtools.places import ROOT
from runwasi.shim.client import packet
from runwasi.shim.client.packet import CallPacket, PacketError

_SOURCE = ROOT / "runwasi/shim/client/client.c"
_NAME = "containerd-shim-wasmtime-v1"
_TEXT = st.text(st.characters(exclude_characters="\0=", exclude_categories=["Cs"]))
_SANITIZER_FOUND = 99


@given(st.lists(_TEXT), st.dictionaries(_TEXT, _TEXT), st.binary())
def test_a_call_arrives_as_it_was_sent(
    arguments: list[str], environment: dict[str, str], stdin: bytes
) -> None:
    call = CallPacket.decode(CallPacket("0.1", _NAME, arguments, environment, stdin).encode())
    assert (call.version, call.program) == ("0.1", _NAME)
    assert (call.arguments, call.environment, call.stdin) == (arguments, environment, stdin)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_call_or_refused(data: bytes) -> None:
    for candidate in (data, packet.MAGIC + data):
        try:
            CallPacket.decode(candidate)
        except PacketError:
            continue


def test_a_call_that_announces_more_than_it_has_is_refused() -> None:
    whole = CallPacket("0.1", _NAME, ["start"], {"A": "b"}, b"input").encode()
    for length in range(len(whole)):
        with pytest.raises(PacketError):
            CallPacket.decode(whole[:length])


def test_a_call_too_long_is_refused_by_its_sender() -> None:
    with pytest.raises(PacketError, match="more than"):
        CallPacket("0.1", _NAME, ["x" * packet.MAX_CALL], {}, b"").encode()


def test_a_malformed_reply_is_refused() -> None:
    whole = packet.reply(packet.ANSWER, 3, b"text", b"more")
    assert packet.read_reply(whole) == (packet.ANSWER, 3, b"text", b"more")
    for data in (b"", packet.MAGIC, b"x" * 20, whole[:-5]):
        with pytest.raises(PacketError):
            packet.read_reply(data)


# the native client, under the compiler's sanitizers, with a daemon that may say anything


class FakeDaemon:
    """Answers every call with the packets it is given."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "daemon" / "manager.sock"
        self.path.parent.mkdir(0o711)
        self.replies: list[bytes] = []
        self.calls: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                data, fds, _, _ = socket.recv_fds(connection, packet.MAX_CALL, 4)
                for fd in fds:
                    os.close(fd)
                self.calls.append(data)
                try:
                    for reply in self.replies:
                        connection.send(reply)
                except OSError:
                    continue

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def fake_daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    daemon = FakeDaemon(tmp_path)
    yield daemon
    daemon.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client with sanitizers; a launcher that says so stands where it looks for one."""
    folder = tmp_path_factory.mktemp("client")
    program = folder / "bin" / _NAME
    program.parent.mkdir()
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
    warnings = ("-Wall", "-Wextra", "-Werror")
    subprocess.run(
        ["cc", *sanitizers, *warnings, '-DVERSION="0.1"', "-o", program, _SOURCE], check=True, timeout=120
    )
    launcher = folder / "lib/runwasi/launchers" / _NAME
    launcher.parent.mkdir(parents=True)
    launcher.write_text('#!/bin/sh\nprintf "cold %s " "$*"\nexec cat\n')
    launcher.chmod(0o755)
    return program


def _call(
    client: Path, path: Path, *arguments: str, stdin: bytes = b"", **environment: str
) -> tuple[int, bytes, bytes]:
    options = f"exitcode={_SANITIZER_FOUND}"
    done = subprocess.run(
        [client, *arguments],
        env={
            "RUNWASI_DAEMON_SOCKET": str(path),
            "ASAN_OPTIONS": options,
            "UBSAN_OPTIONS": options,
            **environment,
        },
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_native_client_says_what_it_was_called_with_and_relays_the_answer(
    client: Path, fake_daemon: FakeDaemon
) -> None:
    fake_daemon.replies = [packet.reply(packet.TAKEN), packet.reply(packet.ANSWER, 0, b"unix:///x")]
    given = ("-id", "", "start")
    assert _call(client, fake_daemon.path, *given, stdin=b"options", A="b=c") == (0, b"unix:///x", b"")
    call = CallPacket.decode(fake_daemon.calls[0])
    assert (call.version, call.program, call.stdin) == ("0.1", _NAME, b"options")
    assert call.arguments == list(given)
    assert call.environment["A"] == "b=c"


def test_the_native_client_relays_a_failure(client: Path, fake_daemon: FakeDaemon) -> None:
    fake_daemon.replies = [packet.reply(packet.TAKEN), packet.reply(packet.ANSWER, 3, b"", b"why")]
    assert _call(client, fake_daemon.path, "delete") == (3, b"", b"why")


@pytest.mark.parametrize(
    "replies",
    [
        [packet.reply(packet.COLD)],
        [packet.reply(packet.TAKEN), packet.reply(packet.COLD)],
        [packet.reply(packet.TAKEN)],
        [packet.reply(packet.ANSWER, 0, b"untaken")],
        [b"x" * (packet.MAX_REPLY + 1)],
        [packet.reply(packet.TAKEN), packet.reply(packet.ANSWER, 0, b"cut off")[:-1]],
        [packet.MAGIC],
        [],
    ],
)
def test_the_native_client_goes_the_cold_way_with_its_input_unread(
    client: Path, fake_daemon: FakeDaemon, replies: list[bytes]
) -> None:
    fake_daemon.replies = replies
    assert _call(client, fake_daemon.path, "-id", "x", "start", stdin=b"input") == (
        0,
        b"cold -id x start input",
        b"",
    )


def test_the_native_client_survives_whatever_it_is_told(client: Path, fake_daemon: FakeDaemon) -> None:
    dice = random.Random(0)
    good = [packet.reply(packet.TAKEN), packet.reply(packet.ANSWER, 7, b"body")]
    for _ in range(150):
        replies = [bytearray(reply) for reply in good]
        for _ in range(dice.randrange(4)):
            reply = dice.choice(replies)
            kind = dice.randrange(3)
            if kind == 0 and reply:
                reply[dice.randrange(len(reply))] = dice.randrange(256)
            elif kind == 1:
                del reply[dice.randrange(len(reply) + 1) :]
            else:
                reply += dice.randbytes(dice.choice((1, 100, packet.MAX_BODY)))
        fake_daemon.replies = [bytes(reply) for reply in replies[: dice.randrange(3)]]
        status, stdout, stderr = _call(client, fake_daemon.path, "delete")
        assert status != _SANITIZER_FOUND, stderr.decode()
        assert stdout.startswith(b"cold") or fake_daemon.replies


@pytest.mark.parametrize("size", [packet.MAX_CALL, 40 << 10], ids=["arguments", "input"])
def test_the_native_client_does_itself_what_does_not_fit(
    client: Path, fake_daemon: FakeDaemon, size: int
) -> None:
    fake_daemon.replies = [packet.reply(packet.TAKEN), packet.reply(packet.ANSWER)]
    whole = b"i" * (size if size < packet.MAX_CALL else 10)
    arguments = ("start",) if size < packet.MAX_CALL else ("x" * size, "start")
    status, stdout, _ = _call(client, fake_daemon.path, *arguments, stdin=whole)
    assert (status, stdout) == (0, b" ".join((b"cold", " ".join(arguments).encode(), whole)))


def test_the_native_client_trusts_no_folder_that_others_may_write_to(
    client: Path, fake_daemon: FakeDaemon
) -> None:
    fake_daemon.replies = [packet.reply(packet.TAKEN), packet.reply(packet.ANSWER, 0, b"trusted")]
    fake_daemon.path.parent.chmod(0o777)
    assert _call(client, fake_daemon.path, "delete")[1] == b"cold delete "
    fake_daemon.path.parent.chmod(0o711)
    assert _call(client, fake_daemon.path, "delete")[1] == b"trusted"


def test_the_native_client_asks_nobody_when_it_is_told_not_to(client: Path, fake_daemon: FakeDaemon) -> None:
    fake_daemon.replies = [packet.reply(packet.TAKEN), packet.reply(packet.ANSWER, 0, b"asked")]
    assert _call(client, fake_daemon.path, "delete", RUNWASI_DAEMON="off")[1] == b"cold delete "
    assert not fake_daemon.calls


@pytest.mark.parametrize("name", ["containerd-shim--v1", "containerd-shim-d-v1", "containerd-shim-", "x"])
def test_a_native_client_of_another_name_has_no_daemon(client: Path, tmp_path: Path, name: str) -> None:
    other = client.parent / name
    other.unlink(missing_ok=True)
    other.symlink_to(client)
    status, _, stderr = _call(other, tmp_path / "none", "delete")
    assert status == 1
    assert b"cannot execute" in stderr
