"""The node daemon's units, under the systemd that starts, watches, reloads and stops it."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devtools.bundle import make_bundle
from devtools.places import BIN
from devtools.ttrpc import Peer, task_service
from devtools.waiting import until
from runwasi import __version__
from runwasi.deployment import daemon_units
from runwasi.shim.client import packet
from runwasi.shim.client.packet import CallPacket
from runwasi.wire.messages import task_types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from devtools.ttrpc import Methods

_NAME = "containerd-wasmtimed"
_SERVICE, _SOCKET = f"{_NAME}.service", f"{_NAME}.socket"
_UNITS = Path("/etc/systemd/system")
_SOCKET_PATH = packet.daemon_socket_path("wasmtime")
_SECONDS = 200  # the virtual machine's processor is an emulated one

# Nothing but these units is to be started in the virtual machine, nobody reads a journal there, and all takes longer.
_ALONE = "[Unit]\nDefaultDependencies=no\n"
_LOGGED = "[Service]\nTimeoutStartSec=infinity\nStandardError=append:{log}\n"
_IMPATIENT = "[Service]\nWatchdogSec=10\nTimeoutAbortSec=1\n"


def systemctl(*arguments: str) -> str:
    done = subprocess.run(
        ["systemctl", *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=180
    )
    return done.stdout.strip()


def shown(name: str) -> str:
    """A property of the service."""
    return systemctl("show", "--value", "--property", name, _SERVICE)


def is_active() -> str:
    return until(lambda: shown("ActiveState"), lambda state: state == "active", seconds=_SECONDS)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def units(log: Path) -> Iterator[None]:
    """Both units, the socket listening."""
    texts = {
        _SERVICE: daemon_units.service("wasmtime", f"{BIN}/{_NAME}"),
        _SOCKET: daemon_units.socket("wasmtime"),
    }
    for unit, text in texts.items():
        (_UNITS / unit).write_text(text)
        (_UNITS / f"{unit}.d").mkdir()
        (_UNITS / f"{unit}.d/alone.conf").write_text(_ALONE)
    (_UNITS / f"{_SERVICE}.d/log.conf").write_text(_LOGGED.format(log=log))
    systemctl("daemon-reload")
    systemctl("start", _SOCKET)
    yield
    systemctl("stop", _SOCKET, _SERVICE)
    for unit in texts:
        for path in (_UNITS / f"{unit}.d").iterdir():
            path.unlink()
        (_UNITS / f"{unit}.d").rmdir()
        (_UNITS / unit).unlink()
    systemctl("daemon-reload")


@pytest.fixture
def start_pod(tmp_path: Path, container_id: str) -> Iterator[Callable[[str], Methods]]:
    """Have the daemon start a pod, as the shim of this name, and run a container in it."""
    peers = []

    def start(shim: str) -> Methods:
        bundle = make_bundle(tmp_path / "bundle", ["sleep", "1000"]).write()
        os.mkfifo(bundle.path / "log")
        reader = os.open(bundle.path / "log", os.O_RDWR | os.O_NONBLOCK)
        peer = Peer(_ask(shim, bundle.path, container_id), timeout=_SECONDS)
        os.close(reader)
        peers.append(peer)
        tasks = task_service(peer)
        tasks.call("Create", id=container_id, bundle=str(bundle.path))
        tasks.call("Start", id=container_id)
        return tasks

    yield start
    for peer in peers:
        peer.close()


def _ask(shim: str, folder: Path, container_id: str) -> str:
    """Call the daemon with a start as the client does, but wait as long as it takes here; returns the address."""
    arguments = [
        "-namespace",
        "tests",
        "-address",
        "/run/none",
        "-publish-binary",
        "/bin/true",
        "-id",
        container_id,
    ]
    call = CallPacket(__version__, shim, [*arguments, "start"], {"PATH": os.environ["PATH"]}, b"")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(_SECONDS)
        sock.connect(_SOCKET_PATH)
        at = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        socket.send_fds(sock, [call.encode()], [at])
        os.close(at)
        assert packet.read_reply(sock.recv(packet.MAX_CALL))[0] == packet.TAKEN
        kind, status, output, errors = packet.read_reply(sock.recv(packet.MAX_CALL))
    assert (kind, status) == (packet.ANSWER, 0), errors
    return output.decode()


def end_pod(tasks: Methods, container_id: str) -> None:
    tasks.call("Kill", id=container_id, signal=9)
    assert tasks.call("Wait", id=container_id).exit_status == 137
    tasks.call("Delete", id=container_id)
    tasks.call("Shutdown", id=container_id)


@pytest.mark.usefixtures("units")
def test_systemd_finds_no_fault_in_the_units() -> None:
    command = ["systemd-analyze", "verify", f"{_UNITS}/{_SERVICE}", f"{_UNITS}/{_SOCKET}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert (done.returncode, done.stdout) == (0, "")
    assert _NAME not in done.stderr


@pytest.mark.usefixtures("units")
def test_a_call_starts_it_and_one_that_hangs_is_started_anew() -> None:
    (_UNITS / f"{_SERVICE}.d/impatient.conf").write_text(_IMPATIENT)
    systemctl("daemon-reload")
    assert shown("ActiveState") == "inactive"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        caller.connect(_SOCKET_PATH)
        is_active()
    before = int(shown("MainPID"))
    systemctl("kill", "--kill-whom=main", "--signal=SIGSTOP", _SERVICE)
    until(lambda: int(shown("MainPID")), lambda pid: pid not in (0, before), seconds=_SECONDS)
    is_active()


@pytest.mark.usefixtures("units")
def test_reload_replaces_it_under_its_pod_and_stop_waits_for_that(
    start_pod: Callable[[str], Methods], container_id: str, log: Path
) -> None:
    systemctl("start", _SERVICE)
    daemon = shown("MainPID")
    tasks = start_pod("containerd-shim-wasmtimed-v1")
    assert str(tasks.call("Connect", id=container_id).shim_pid) == daemon
    systemctl("reload", _SERVICE)
    until(log.read_text, lambda text: text.count('msg="serving"') == 2, seconds=_SECONDS)
    assert tasks.call("State", id=container_id).status == task_types.RUNNING
    assert (is_active(), shown("MainPID"), shown("NRestarts")) == ("active", daemon, "0")
    systemctl("stop", "--no-block", _SOCKET, _SERVICE)
    until(lambda: shown("ActiveState"), lambda state: state == "deactivating", seconds=_SECONDS)
    assert tasks.call("State", id=container_id).status == task_types.RUNNING
    end_pod(tasks, container_id)
    tasks.peer.close()
    until(lambda: shown("ActiveState"), lambda state: state == "inactive", seconds=_SECONDS)


@pytest.mark.usefixtures("units")
def test_stop_and_kill_leave_a_pods_own_server_alone(
    start_pod: Callable[[str], Methods], container_id: str
) -> None:
    systemctl("start", _SERVICE)
    tasks = start_pod("containerd-shim-wasmtime-v1")
    server = tasks.call("Connect", id=container_id).shim_pid
    assert str(server) != shown("MainPID")
    systemctl("kill", "--kill-whom=main", "--signal=SIGKILL", _SERVICE)
    until(lambda: shown("NRestarts"), lambda restarts: restarts == "1", seconds=_SECONDS)
    is_active()
    systemctl("stop", _SOCKET, _SERVICE)
    assert shown("ActiveState") == "inactive"
    assert tasks.call("Connect", id=container_id).shim_pid == server
    assert tasks.call("State", id=container_id).status == task_types.RUNNING
    end_pod(tasks, container_id)
