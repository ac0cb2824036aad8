"""The node daemon under systemd: its service's state, and the pods that it is asked for."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from devtools.bundle import make_bundle
from devtools.ttrpc import Peer, task_service
from devtools.waiting import until
from runwasi import __version__
from runwasi.shim.client import packet
from runwasi.shim.client.packet import CallPacket

if TYPE_CHECKING:
    from devtools.ttrpc import Methods

NAME = "containerd-wasmtimed"
SERVICE, SOCKET = f"{NAME}.service", f"{NAME}.socket"
SOCKET_PATH = packet.daemon_socket_path("wasmtime")
SECONDS = 200  # the virtual machine's processor is an emulated one

# Nothing but these units is to be started in the virtual machine, nobody reads a journal there, and all takes longer.
ALONE = "[Unit]\nDefaultDependencies=no\n"
LOGGED = "[Service]\nTimeoutStartSec=infinity\nStandardError=append:{log}\n"


def systemctl(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        ["systemctl", *arguments], stdout=subprocess.PIPE, text=True, check=check, timeout=180
    )
    return done.stdout.strip()


def shown(name: str) -> str:
    """A property of the service."""
    return systemctl("show", "--value", "--property", name, SERVICE)


def is_active() -> str:
    return until(lambda: shown("ActiveState"), lambda state: state == "active", seconds=SECONDS)


class Pods:
    """Pods that the daemon was asked for."""

    def __init__(self, folder: Path, container_id: str) -> None:
        self._folder = folder
        self._id = container_id
        self._peers: list[Peer] = []

    def __call__(self, shim: str, version: str = __version__) -> Methods:
        """Have the daemon start a pod, as the shim of this name and version, and run a container in it."""
        bundle = make_bundle(self._folder / "bundle", ["sleep", "1000"]).write()
        os.mkfifo(bundle.path / "log")
        reader = os.open(bundle.path / "log", os.O_RDWR | os.O_NONBLOCK)
        peer = Peer(self._ask(shim, version, bundle.path), timeout=SECONDS)
        os.close(reader)
        self._peers.append(peer)
        tasks = task_service(peer)
        tasks.call("Create", id=self._id, bundle=str(bundle.path))
        tasks.call("Start", id=self._id)
        return tasks

    def close(self) -> None:
        for peer in self._peers:
            peer.close()

    def _ask(self, shim: str, version: str, folder: Path) -> str:
        """Call the daemon as the client does, but wait as long as it takes here; returns the address."""
        arguments = ["-namespace", "tests", "-address", "/run/none", "-publish-binary", "/bin/true"]
        arguments += ["-id", self._id, "start"]
        call = CallPacket(version, shim, arguments, {"PATH": os.environ["PATH"]}, b"")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(SECONDS)
            sock.connect(SOCKET_PATH)
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
