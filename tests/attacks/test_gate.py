"""Hostile peers of a created container's gate: another user cannot reach it, and nonsense starts what was created."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devtools.waiting import until
from runwasi.linux import sockets
from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached
from tests.support.in_namespaces import run_in
from tests.support.runtime import Runtime

NOBODY = 65534


@pytest.fixture
def waiting(runwasi: Runtime, bundle: BundleMaker, container_id: str) -> Iterator[Detached]:
    """A container that waits to be started."""
    container = Detached(runwasi, bundle(["sleep", "1000"]), container_id)
    container.create()
    yield container
    assert runwasi("delete", "--force", container_id).stderr == ""
    assert not (runwasi.root / container_id).exists()


def gate_of(container: Detached) -> Path:
    return container.runtime.root / container.id / "start"


def connected(path: Path | str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.connect(str(path))
    return peer


def test_another_user_cannot_start_a_container(waiting: Detached) -> None:
    gate = gate_of(waiting)
    gate.parent.chmod(0o755)

    def attempt() -> str:
        os.chdir(gate.parent)  # the folders above may be root's alone
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with pytest.raises(PermissionError):
            connected(gate.name)
        return "refused"

    assert run_in(0, attempt) == "refused"
    assert waiting.status == "created"


def hang_up(peer: socket.socket) -> None:
    peer.close()


def say_nonsense(peer: socket.socket) -> None:
    for text in (b"", b"\0", b"failed\0\0\0\0", b"proceed", b"answer\0" * 1000, os.urandom(30_000)):
        peer.send(text)


def pass_descriptors(peer: socket.socket) -> None:
    with open("/dev/null", "rb") as null:
        for _ in range(10):
            sockets.send_fds(peer.fileno(), b"proceed", (null.fileno(),) * 16)


@pytest.mark.parametrize("act", [hang_up, say_nonsense, pass_descriptors])
def test_what_a_peer_says_changes_nothing(waiting: Detached, act: Callable[[socket.socket], None]) -> None:
    pid = waiting.pid
    with connected(gate_of(waiting)) as peer, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        act(peer)  # the program may run by now, and nobody listen
    until(lambda: sorted(os.listdir(f"/proc/{pid}/fd")), lambda held: held == ["0", "1", "2"])
    until(Path(f"/proc/{pid}/comm").read_text, lambda name: name == "sleep\n")
    refused = waiting.runtime("start", waiting.id, check=False)
    assert "cannot start" in refused.stderr
