"""Shared mode: a node daemon that serves pods itself."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devtools.bundle import in_user_namespace
from devtools.daemon import Daemon
from devtools.waiting import until
from runwasi.shim.pod_socket import socket_path
from runwasi.wire.messages.task import PidsRequest
from runwasi.wire.messages.ttrpc import Request
from runwasi.wire.ttrpc_frames import REQUEST, FrameDecoder, frame
from tests.support.prober import LAST, prober_module, reached
from tests.support.quiet import waits_for_events_alone
from tests.support.shim import EventSink, Shim, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import BundleMaker

SLEEP = ["sleep", "1000"]


def test_pods_are_served_by_the_daemon_itself(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str, sink: EventSink
) -> None:
    with running(shared_shim, container_id, bundle(["sh", "-c", "exit 3"])) as task:
        assert task.pid == daemon.pid
        assert os.statvfs(f"/proc/{task.pid}/exe").f_flag & os.ST_RDONLY
        task.run()
        assert task.call("Wait").exit_status == 3
        task.call("Delete")
        assert sink.topics(4) == ["create", "start", "exit", "delete"]
        task.call("Shutdown")
        assert task.ended()


@pytest.mark.parametrize("users", ["host", "mapped"])
def test_a_module_finds_no_process_in_proc(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path, users: str
) -> None:
    prober = prober_module(folder).read_bytes()
    made = bundle(["/app.wasm", LAST, "/proc", "/dev"], files={"/app.wasm": prober})
    if users == "mapped":
        in_user_namespace(made)
    output = folder / "output"
    with running(shared_shim, container_id, made) as task:
        task.create(stdout=f"file://{output}")
        task.call("Start")
        assert task.call("Wait").exit_status == 0
        task.call("Delete")
    assert reached(output.read_text()) == []


def test_each_pod_writes_to_its_own_log(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    quiet, loud = bundle(["true"]), bundle(["true"])
    loud.config["hooks"] = {"poststop": [{"path": "/bin/false"}]}  # which is a warning
    loud.write()
    for number, made in enumerate((quiet, loud)):
        with running(shared_shim, f"{container_id}-{number}", made) as task:
            task.run()
            task.call("Wait")
            task.call("Delete")
    assert shared_shim.log(quiet) == ""
    assert f"instance={container_id}-1" in shared_shim.log(loud)


def test_a_pod_ends_with_its_shutdown_and_leaves_nothing_in_the_daemon(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, new_id: Callable[[], str]
) -> None:
    def fds() -> int:
        return len(os.listdir(f"/proc/{daemon.pid}/fd"))

    def live(pods: int) -> None:
        for _ in range(pods):
            with running(shared_shim, new_id(), made) as task:
                task.run()
                task.call("Wait")
                task.call("Delete")
                task.call("Shutdown")

    made = bundle(["true"])
    before = fds()
    live(20)
    until(fds, lambda number: number == before)
    taken = daemon.private_memory()
    live(40)
    until(fds, lambda number: number == before)
    assert (
        daemon.private_memory() - taken < 700
    )  # KiB; 30 for each pod would be kept if there were no collection


def test_killing_the_daemon_leaves_nothing_that_delete_does_not_find(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    with running(shared_shim, container_id, made) as task:
        pid = task.run()
        daemon.stop(signal.SIGKILL)
        assert task.ended()
        assert Path(f"/proc/{pid}").exists()
        done = shared_shim.delete(container_id, made)
        assert (done.returncode, done.stderr) == (0, b"")
        until(Path(f"/proc/{pid}").exists, lambda there: not there)
    assert not Path(f"/run/containerd/wasmtime/{shared_shim.namespace}/{container_id}").exists()
    assert not Path(task.address.removeprefix("unix://")).exists()


def test_a_flooded_pod_leaves_its_neighbours_their_turn(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with (
        running(shared_shim, container_id, bundle(SLEEP)) as noisy,
        running(shared_shim, f"{container_id}-2", bundle(SLEEP)) as other,
    ):
        noisy.run()
        request = Request(
            service="containerd.task.v2.Task", method="Pids", payload=PidsRequest(id=noisy.id).encode()
        ).encode()
        flood = b"".join(frame(2 * number + 3, REQUEST, request) for number in range(20_000))
        answers: list[int] = []
        threads = [
            threading.Thread(target=_send_all, args=(noisy.peer.socket, flood)),
            threading.Thread(target=_count, args=(noisy.peer.socket, answers)),
        ]
        for thread in threads:
            thread.start()
        until(lambda: len(answers), lambda number: number > 100)
        other.run()
        other.call("Kill", signal=9)
        other.call("Wait")
        other.call("Delete")
        assert len(answers) < 20_000  # the neighbour did not wait for the end of the flood
        noisy.peer.socket.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def _count(peer: socket.socket, answers: list[int]) -> None:
    frames = FrameDecoder()
    with contextlib.suppress(OSError):
        while data := peer.recv(1 << 16):
            answers += [stream for stream, _, _ in frames.feed(data)]


def _send_all(peer: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        peer.sendall(data)


def test_one_pods_connections_and_memory_are_bounded(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with (
        running(shared_shim, container_id, bundle(SLEEP)) as noisy,
        running(shared_shim, f"{container_id}-2", bundle(SLEEP)) as other,
        contextlib.ExitStack() as stack,
    ):
        before = daemon.private_memory()
        partial = frame(1, REQUEST, b"x" * (4 << 20))[:-1]
        for _ in range(80):
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(noisy.address.removeprefix("unix://"))
            peer.settimeout(20)
            _send_all(peer, partial)
        other.run()
        assert daemon.private_memory() - before < 64 << 10  # KiB


def test_a_container_deleted_behind_a_pods_back_ends_the_pod(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    with running(shared_shim, container_id, made) as task:
        task.run()
        assert shared_shim.delete(container_id, made).returncode == 0
        assert task.ended()


def test_a_start_whose_address_cannot_be_written_leaves_no_pod(
    daemon: Daemon, shared_shim: Shim, container_id: str
) -> None:
    before = os.listdir(f"/proc/{daemon.pid}/fd")
    for _ in range(2):
        done = subprocess.run(
            shared_shim.command(container_id, "start"),
            cwd="/proc",
            input=b"",
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1
        assert b"address" in done.stderr
    until(lambda: os.listdir(f"/proc/{daemon.pid}/fd"), lambda fds: fds == before)
    socket = socket_path(
        f"{shared_shim.sink.path.parent}/containerd.sock", shared_shim.namespace, container_id
    )
    assert not Path(socket).exists()


def test_a_pod_whose_caller_differs_has_a_server_of_its_own(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(shared_shim, container_id, bundle(SLEEP)) as first:
        assert first.pid == daemon.pid
        monkeypatch.setenv("ANOTHER", "containerd")
        with running(shared_shim, f"{container_id}-2", bundle(SLEEP)) as second:
            assert second.pid != daemon.pid


def test_containers_inherit_what_containerd_has(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    made = bundle(SLEEP)
    made.process.pop("rlimits", None)
    made.write()
    try:
        with running(shared_shim, container_id, made) as task:
            assert task.pid == daemon.pid
            assert resource.prlimit(task.run(), resource.RLIMIT_NOFILE) == (soft - 1, hard)
            assert resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_daemon_that_ends_serves_its_pods_to_their_end(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(shared_shim, container_id, bundle(SLEEP)) as task:
        task.run()
        daemon.process.send_signal(signal.SIGTERM)
        until(daemon.path.exists, lambda there: not there)
        with running(shared_shim, f"{container_id}-2", bundle(SLEEP)) as other:
            assert other.pid != daemon.pid
        task.call("Kill", signal=9)
        assert task.call("Wait").exit_status == 137
        task.call("Delete")
        task.call("Shutdown")
    assert daemon.process.wait(20) == 0


def test_a_second_daemon_takes_over_after_a_killed_one(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    daemon.stop(signal.SIGKILL)
    successor = Daemon(folder)
    with running(shared_shim, container_id, bundle(["true"])) as task:
        assert task.pid == successor.pid
        task.run()
        task.call("Wait")
        task.call("Delete")
        task.call("Shutdown")
    successor.stop()


def test_a_pod_starts_without_a_daemon(shared_shim: Shim, bundle: BundleMaker, container_id: str) -> None:
    with running(shared_shim, container_id, bundle(["sh", "-c", "exit 3"])) as task:
        task.run()
        assert task.call("Wait").exit_status == 3
        task.call("Delete")


def test_the_daemons_socket_is_for_root_only(daemon: Daemon) -> None:
    assert daemon.path.stat().st_mode & 0o777 == 0o600
    assert daemon.path.parent.stat().st_mode & 0o777 == 0o711


def test_an_idle_daemon_does_not_wake_up(daemon: Daemon) -> None:
    """Not once it has looked, a second after its rehearsal, whether an orphan is left."""
    until(lambda: waits_for_events_alone(daemon.process.pid), bool)


_REHEARSAL = """
import sys
from runwasi.engines import registry
from runwasi.shim.server.log import Log
from runwasi.shim.daemon.rehearsal import rehearse

rehearse(registry.load("wasmtime"), sys.argv[1], Log(1, debug=True))
assert "runwasi.executor.parent.errands" in sys.modules
"""


def test_a_rehearsal_is_played_to_its_end(folder: Path) -> None:
    command = [sys.executable, "-c", _REHEARSAL, str(folder / "rehearsal")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_rehearsal_leaves_nothing(daemon: Daemon) -> None:
    assert os.listdir(daemon.path.parent) == [daemon.path.name]
    assert not list(Path("/sys/fs/cgroup").glob(f"**/rehearsal-{daemon.process.pid}"))


def test_a_daemon_clears_away_the_rehearsal_of_a_killed_one(folder: Path) -> None:
    left = folder / "manager/manager.sock.rehearsal/rootfs"
    left.mkdir(parents=True)
    (left / "module.wasm").touch()
    daemon = Daemon(folder)
    daemon.stop()
    assert not list((folder / "manager").iterdir())
