"""The processes that mount for a server of many pods: one serves job after job, and is replaced when it is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runwasi.executor.errors import ContainerError
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.services.rootfs.mounters import Mounters
from runwasi.shim.services.rootfs.rootfs_mounts import has_mount
from runwasi.wire.messages.types import Mount
from tests.support.detached import descendants, wait_for_exit

if TYPE_CHECKING:
    from runwasi.linux.waiting import Operation

MANY_LAYERS = 1000


def fail(error: Exception) -> None:
    raise error


class Server:
    """A reactor with mounters."""

    def __init__(self) -> None:
        self.reactor = Reactor(on_error=fail)
        self.mounters = Mounters(self.reactor)

    def do(self, operation: Operation[None]) -> None:
        """Carry an operation out."""
        ended: list[Exception | None] = []
        self.reactor.follow(operation, lambda _result, error: ended.append(error))
        while not ended:
            self.reactor.turn()
        if ended[0]:
            raise ended[0]

    def close(self) -> None:
        self.mounters.end_free()
        while self.reactor.operations:
            self.reactor.turn()
        self.reactor.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").touch()
    (tmp_path / "bundle" / "rootfs").mkdir(parents=True)
    return str(tmp_path / "bundle")


def bind(bundle: str) -> list[Mount]:
    return [Mount(type="bind", source=f"{bundle}/../source", options=["rbind", "ro"])]


def test_one_process_serves_job_after_job(server: Server, bundle: str) -> None:
    server.do(server.mounters.mount(bind(bundle), bundle))
    first = descendants(os.getpid())
    assert os.listdir(f"{bundle}/rootfs") == ["file"]
    with pytest.raises(OSError, match="Read-only"):
        Path(bundle, "rootfs", "another").touch()
    server.do(server.mounters.unmount(bundle))
    assert not has_mount(bundle)
    assert descendants(os.getpid()) == first
    assert len(first) == 1


def test_a_mount_that_fails_says_why_and_leaves_nothing(server: Server, bundle: str) -> None:
    requested = [*bind(bundle), Mount(type="bind", source="/no/such/folder", options=["bind"])]
    with pytest.raises(ContainerError, match=r"failed to mount rootfs component: .*No such file"):
        server.do(server.mounters.mount(requested, bundle))
    assert not has_mount(bundle)


def test_one_that_was_killed_is_replaced(server: Server, bundle: str) -> None:
    server.do(server.mounters.mount(bind(bundle), bundle))
    (killed,) = descendants(os.getpid())
    os.kill(killed, signal.SIGKILL)
    os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
    server.do(server.mounters.unmount(bundle))
    assert not has_mount(bundle)
    wait_for_exit(killed)


def test_an_overlay_of_more_layers_than_a_message_holds_is_mounted_too(
    server: Server, bundle: str, tmp_path: Path
) -> None:
    layers = [tmp_path / f"layer-with-a-long-name-{number:04}" for number in range(MANY_LAYERS)]
    names = ":".join(map(str, layers))
    with pytest.raises(ContainerError, match="failed to mount rootfs component"):  # there are no such folders
        server.do(server.mounters.mount([Mount(type="overlay", options=[f"lowerdir={names}"])], bundle))
    assert not has_mount(bundle)
