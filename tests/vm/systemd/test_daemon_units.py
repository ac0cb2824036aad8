"""The node daemon's units, under the systemd that starts, watches, reloads and stops it."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devtools.places import BIN
from devtools.waiting import until
from runwasi.cli.main import main
from runwasi.deployment import daemon_units
from runwasi.wire.messages import task_types
from tests.vm.daemon_calls import (
    ALONE,
    LOGGED,
    NAME,
    SECONDS,
    SERVICE,
    SOCKET,
    SOCKET_PATH,
    Pods,
    end_pod,
    is_active,
    shown,
    systemctl,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNITS = Path("/etc/systemd/system")
_IMPATIENT = "[Service]\nWatchdogSec=10\nTimeoutAbortSec=1\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def units(log: Path) -> Iterator[None]:
    """Both units, the socket listening."""
    texts = {
        SERVICE: daemon_units.service("wasmtime", f"{BIN}/{NAME}"),
        SOCKET: daemon_units.socket("wasmtime"),
    }
    for unit, text in texts.items():
        (_UNITS / unit).write_text(text)
        (_UNITS / f"{unit}.d").mkdir()
        (_UNITS / f"{unit}.d/alone.conf").write_text(ALONE)
    (_UNITS / f"{SERVICE}.d/log.conf").write_text(LOGGED.format(log=log))
    systemctl("daemon-reload")
    systemctl("start", SOCKET)
    yield
    systemctl("stop", SOCKET, SERVICE)
    for unit in texts:
        for path in (_UNITS / f"{unit}.d").iterdir():
            path.unlink()
        (_UNITS / f"{unit}.d").rmdir()
        (_UNITS / unit).unlink()
    systemctl("daemon-reload")


@pytest.mark.usefixtures("units")
def test_systemd_finds_no_fault_in_the_units() -> None:
    command = ["systemd-analyze", "verify", f"{_UNITS}/{SERVICE}", f"{_UNITS}/{SOCKET}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert (done.returncode, done.stdout) == (0, "")
    assert NAME not in done.stderr


@pytest.mark.usefixtures("units")
def test_a_call_starts_it_and_one_that_hangs_is_started_anew() -> None:
    (_UNITS / f"{SERVICE}.d/impatient.conf").write_text(_IMPATIENT)
    systemctl("daemon-reload")
    assert shown("ActiveState") == "inactive"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        caller.connect(SOCKET_PATH)
        is_active()
    before = int(shown("MainPID"))
    systemctl("kill", "--kill-whom=main", "--signal=SIGSTOP", SERVICE)
    until(lambda: int(shown("MainPID")), lambda pid: pid not in (0, before), seconds=SECONDS)
    is_active()


@pytest.mark.usefixtures("units")
def test_reload_replaces_it_under_its_pod_and_stop_waits_for_that(
    start_pod: Pods, container_id: str, log: Path
) -> None:
    systemctl("start", SERVICE)
    daemon = shown("MainPID")
    tasks = start_pod("containerd-shim-wasmtimed-v1")
    assert str(tasks.call("Connect", id=container_id).shim_pid) == daemon
    systemctl("reload", SERVICE)
    until(log.read_text, lambda text: text.count('msg="serving"') == 2, seconds=SECONDS)
    assert tasks.call("State", id=container_id).status == task_types.RUNNING
    assert (is_active(), shown("MainPID"), shown("NRestarts")) == ("active", daemon, "0")
    systemctl("stop", "--no-block", SOCKET, SERVICE)
    until(lambda: shown("ActiveState"), lambda state: state == "deactivating", seconds=SECONDS)
    assert tasks.call("State", id=container_id).status == task_types.RUNNING
    end_pod(tasks, container_id)
    tasks.peer.close()
    until(lambda: shown("ActiveState"), lambda state: state == "inactive", seconds=SECONDS)


@pytest.mark.usefixtures("units")
def test_units_are_removed_and_installed_under_a_pod(start_pod: Pods, container_id: str) -> None:
    systemctl("start", SERVICE)
    former = shown("MainPID")
    tasks = start_pod("containerd-shim-wasmtimed-v1")

    assert main(["uninstall", "units", "--write", "--restart"]) == 0
    until(lambda: shown("ActiveState"), lambda state: state == "deactivating", seconds=SECONDS)
    assert not (_UNITS / SERVICE).exists()
    assert (shown("KillMode"), shown("TimeoutStopUSec")) == ("process", "infinity")
    assert shown("FragmentPath") == f"/run/systemd/system/{SERVICE}"

    for _ in range(2):
        assert main(["install", "units", "--bin", str(BIN), "--write", "--restart"]) == 0
        assert (shown("ActiveState"), shown("MainPID")) == ("deactivating", former)
        assert tasks.call("State", id=container_id).status == task_types.RUNNING
    end_pod(tasks, container_id)
    tasks.peer.close()
    until(
        lambda: systemctl("is-active", SOCKET, check=False), lambda state: state == "active", seconds=SECONDS
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        caller.connect(SOCKET_PATH)
        is_active()
    assert shown("MainPID") != former
    assert not Path("/run/systemd/system", SERVICE).exists()
    systemctl("disable", SOCKET, SERVICE)


@pytest.mark.usefixtures("units")
def test_stop_and_kill_leave_a_pods_own_server_alone(start_pod: Pods, container_id: str) -> None:
    systemctl("start", SERVICE)
    tasks = start_pod("containerd-shim-wasmtime-v1")
    server = tasks.call("Connect", id=container_id).shim_pid
    assert str(server) != shown("MainPID")
    systemctl("kill", "--kill-whom=main", "--signal=SIGKILL", SERVICE)
    until(lambda: shown("NRestarts"), lambda restarts: restarts == "1", seconds=SECONDS)
    is_active()
    systemctl("stop", SOCKET, SERVICE)
    assert shown("ActiveState") == "inactive"
    assert tasks.call("Connect", id=container_id).shim_pid == server
    assert tasks.call("State", id=container_id).status == task_types.RUNNING
    end_pod(tasks, container_id)
