"""Shared mode: a node daemon that forks the pods' servers, and a client shim that asks it to."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runwasi.wire.messages import task_types
from tests.support.daemon import Daemon
from tests.support.shim import EventSink, Shim, running
from tests.support.ttrpc import Peer, task_service
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.conftest import BundleMaker

SLEEP = ["sleep", "1000"]


def waiting_clients(path: Path) -> bool:
    """Whether somebody has connected whom the daemon has not accepted. Source: /proc/net/unix, state 02."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return any(line[5] == "02" for line in lines if line[-1] == str(path))


@pytest.fixture
def daemon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    daemon = Daemon(folder)
    monkeypatch.setenv("RUNWASI_MANAGER", str(daemon.path))
    monkeypatch.delenv("RUNWASI_DAEMON")
    yield daemon
    daemon.stop()


@pytest.fixture
def shim(session_name: str, sink: EventSink) -> Iterator[Shim]:
    shim = Shim("shared", session_name, sink)
    yield shim
    shim.clean()


def test_a_pod_is_served_by_a_fork_of_the_daemon(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str, sink: EventSink
) -> None:
    with running(shim, container_id, bundle(["sh", "-c", "exit 3"])) as task:
        assert task.pid != daemon.process.pid
        assert os.getsid(task.pid) == task.pid
        assert os.statvfs(f"/proc/{task.pid}/exe").f_flag & os.ST_RDONLY
        task.run()
        assert task.call("Wait").exit_status == 3
        task.call("Delete")
        assert sink.topics(4) == ["create", "start", "exit", "delete"]


def test_pods_outlive_a_killed_daemon(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(shim, container_id, bundle(SLEEP)) as task:
        task.run()
        daemon.stop(signal.SIGKILL)
        assert task.call("State").status == task_types.RUNNING
        task.call("Kill", signal=9)
        assert task.call("Wait").exit_status == 137
        task.call("Delete")


def test_a_second_daemon_takes_over_after_a_killed_one(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    daemon.stop(signal.SIGKILL)
    successor = Daemon(folder)
    try:
        with running(shim, container_id, bundle(SLEEP)) as task:
            task.create()
    finally:
        successor.stop()


def test_a_daemon_that_ends_answers_who_has_asked(
    daemon: Daemon, shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    made = bundle(SLEEP)
    daemon.process.send_signal(signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        starting = pool.submit(shim.start, container_id, made)
        until(lambda: waiting_clients(daemon.path), bool)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.process.send_signal(signal.SIGCONT)
        address = starting.result()
    assert daemon.process.wait(20) == 0
    assert not daemon.path.exists()
    with Peer(address) as peer:
        assert task_service(peer).call("Connect", id=container_id).shim_pid


def test_a_pod_starts_without_a_daemon(shim: Shim, bundle: BundleMaker, container_id: str) -> None:
    with running(shim, container_id, bundle(["sh", "-c", "exit 3"])) as task:
        task.run()
        assert task.call("Wait").exit_status == 3
        task.call("Delete")


def test_the_daemons_socket_is_for_root_only(daemon: Daemon) -> None:
    assert daemon.path.stat().st_mode & 0o777 == 0o600
    assert daemon.path.parent.stat().st_mode & 0o777 == 0o711


def test_an_idle_daemon_does_not_wake_up(daemon: Daemon) -> None:
    def switches() -> int:
        status = f"/proc/{daemon.process.pid}/status"
        with open(status, encoding="utf-8") as file:
            return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)

    time.sleep(1.5)  # a second after its rehearsal it looks once whether an orphan is left
    before = switches()
    time.sleep(2)
    assert switches() == before


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
