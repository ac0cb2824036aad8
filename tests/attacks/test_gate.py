"""Hostile peers of a created container's gate: another user cannot reach it, and nonsense starts what was created."""

from __future__ import annotations

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


def connected(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(20)
    peer.connect(str(path))
    return peer


def test_another_user_cannot_start_a_container(waiting: Detached) -> None:
    for folder in gate_of(waiting).parents:
        folder.chmod(folder.stat().st_mode | 0o011)  # the test's own may be root's alone

    def attempt() -> str:
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with pytest.raises(PermissionError):
            connected(gate_of(waiting))
        return "refused"

    assert run_in(0, attempt) == "refused"
    assert waiting.status == "created"


def hang_up(peer: socket.socket) -> None:
    peer.close()


def say_nonsense(peer: socket.socket) -> None:
    for text in (b"", b"\0", b"failed\0\0\0\0", b"proceed", b"answer\0" * 1000, os.urandom(30_000)):
        peer.send(text)


def pass_descriptors(peer: socket.socket) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    for _ in range(10):
        sockets.send_fds(peer.fileno(), b"proceed", (null,) * 16)
    os.close(null)


@pytest.mark.parametrize("act", [hang_up, say_nonsense, pass_descriptors])
def test_what_a_peer_says_changes_nothing(waiting: Detached, act: Callable[[socket.socket], None]) -> None:
    with connected(gate_of(waiting)) as peer:
        act(peer)
    refused = waiting.runtime("start", waiting.id, check=False)
    assert "cannot start" in refused.stderr
    program = Path(f"/proc/{waiting.pid}/comm")
    assert until(program.read_text, lambda name: name == "sleep\n")
    assert sorted(os.listdir(f"/proc/{waiting.pid}/fd")) == ["0", "1", "2"]
