"""Who may call a shim: its own user, by a path that nobody else can reach (CVE-2020-15257)."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devtools.ttrpc import Peer, task_service
from tests.support.shim import Shim, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import BundleMaker

NOBODY = 65534


def as_user(uid: int, gid: int, act: Callable[[], bytes]) -> str:
    """Do something as another user, in a process of its own, and return its result or why it failed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.write(writer, act())
        except OSError as error:
            os.write(writer, os.strerror(error.errno or 0).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    return answer.decode()


def call(path: str) -> bytes:
    """Say something to a shim, and return what it answers: nothing when it closes the connection."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(path)
        try:
            task_service(Peer(sock)).call("Connect", id="nobody")
        except (EOFError, ConnectionError):
            return b"closed"
        return b"answered"


@pytest.fixture
def open_address(our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path) -> Iterator[str]:
    """The socket of a shim in a folder, both of which an operator has opened to everybody by mistake."""
    started = our_shim.bootstrap(container_id, bundle(["sleep", "1000"]), folder)
    path = started.address.removeprefix("unix://")
    for opened in (folder, folder.parent):
        opened.chmod(0o755)
    os.chmod(path, 0o666)
    yield path
    with Peer(path) as peer:
        task_service(peer, "v3").call("Shutdown", id=container_id)


@pytest.mark.parametrize(("uid", "gid"), [(NOBODY, NOBODY), (NOBODY, 0), (0, NOBODY)])
def test_another_user_is_hung_up_on(open_address: str, uid: int, gid: int) -> None:
    assert as_user(uid, gid, lambda: call(open_address)) == "closed"
    assert call(open_address) == b"answered"


def test_the_socket_is_out_of_reach_for_others(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(our_shim, container_id, bundle(["sleep", "1000"])) as task:
        path = task.address.removeprefix("unix://")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert as_user(NOBODY, NOBODY, lambda: call(path)) == "Permission denied"


def test_a_shim_listens_on_no_abstract_socket(our_shim: Shim, bundle: BundleMaker, container_id: str) -> None:
    # Those have no owner and no mode: whoever is in the host's network namespace reaches them.
    with running(our_shim, container_id, bundle(["sleep", "1000"])) as task:
        task.run()
        links = {os.readlink(f"/proc/{task.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{task.pid}/fd")}
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
        names = {f"socket:[{line[6]}]": line[7] for line in lines if len(line) > 7}
        ours = [names[link] for link in links if link in names]
        assert task.address.removeprefix("unix://") in ours
        assert not [name for name in ours if name.startswith("@")]
