"""When containerd is asked for layers and when it is not, and what is said when it does not answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.ttrpc import CallError
from tests.integration.conftest import BundleMaker
from tests.support.shim import Shim, running


class Listener:
    """Stands for containerd's gRPC socket: counts connections, and hangs up after what it is told to say."""

    def __init__(self, path: Path, answer: bytes = b"") -> None:
        self.path = path
        self.connections = 0
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                with connection:
                    connection.recv(4096)
                    connection.sendall(self._answer)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


@pytest.fixture
def listener(folder: Path) -> Iterator[Listener]:
    listener = Listener(folder / "containerd.sock")
    yield listener
    listener.close()


def test_a_native_container_makes_no_connection(
    our_shim: Shim, listener: Listener, bundle: BundleMaker, container_id: str
) -> None:
    with running(our_shim, container_id, bundle(["sh", "-c", "exit 7"])) as task:
        task.create()
        task.call("Start")
        assert task.call("Wait").exit_status == 7
    assert listener.connections == 0


def test_a_module_in_the_rootfs_makes_no_connection(
    our_shim: Shim, listener: Listener, bundle: BundleMaker, container_id: str, wasi_demo_app: bytes
) -> None:
    files = {"/app.wasm": wasi_demo_app}
    with running(our_shim, container_id, bundle(["/app.wasm", "exit", "7"], files=files)) as task:
        task.create()
        task.call("Start")
        assert task.call("Wait").exit_status == 7
    assert listener.connections == 0


def test_a_containerd_that_goes_away_fails_create_with_one_line(
    our_shim: Shim, listener: Listener, bundle: BundleMaker, container_id: str
) -> None:
    with running(our_shim, container_id, bundle(["/nothing.wasm"])) as task:
        with pytest.raises(CallError) as failure:
            task.create()
        assert "stat /nothing.wasm: no such file or directory; " in str(failure.value)
        assert f"containerd at {listener.path} does not answer: " in str(failure.value)
        assert "\n" not in str(failure.value)
    assert listener.connections >= 1


def test_an_absent_containerd_fails_create_with_one_line(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(our_shim, container_id, bundle(["nothing"])) as task, pytest.raises(CallError) as failure:
        task.create()
    assert 'exec: "nothing": executable file not found in $PATH; containerd at ' in str(failure.value)
