"""Descriptors and notifications that a service manager passes through the runtime."""

from __future__ import annotations

import array
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import BundleMaker
from tests.support.detached import Detached, wait_for_exit
from tests.support.passed_descriptors import receiving
from tests.support.runtime import Runtime

# Runs a command with one listening socket as descriptor 3, as man 3 sd_listen_fds describes it.
_ACTIVATOR = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
if listener.fileno() == 3:
    os.set_inheritable(3, True)
else:
    os.dup2(listener.fileno(), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_listening_sockets_are_passed_and_announced(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    made = bundle(["sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; readlink /proc/self/fd/3"])
    command = oci_runtime.command("run", "--bundle", str(made.path), container_id)
    done = subprocess.run(
        [sys.executable, "-c", _ACTIVATOR, str(folder / "socket"), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = done.stdout.split("\n", 1)
    assert first == "1 1"
    assert second.startswith("socket:")


@pytest.mark.parametrize("preserved", [0, 2])
def test_as_many_descriptors_are_kept_as_asked_for(
    oci_runtime: Runtime, bundle: BundleMaker, container_id: str, folder: Path, preserved: int
) -> None:
    made = bundle(["sh", "-c", "for n in 3 4 5; do [ -e /proc/self/fd/$n ] && echo $n; done; true"])
    command = oci_runtime.command(
        "run", "--preserve-fds", str(preserved), "--bundle", str(made.path), container_id
    )
    shell = f"exec {' '.join(command)} 3</dev/null 4</dev/null 5</dev/null"
    done = subprocess.run(
        ["sh", "-c", shell], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["3", "4", "5"][:preserved]


@pytest.mark.parametrize("how", ["run", "start"])
def test_readiness_is_told_to_the_service_manager(
    runwasi: Runtime,
    bundle: BundleMaker,
    container_id: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    container = Detached(runwasi, bundle(["sh", "-c", "echo $NOTIFY_SOCKET; sleep 100"]), container_id)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(folder / "manager"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "manager"))
        if how == "run":
            command = runwasi.command("run", "--detach", "--bundle", str(container.bundle.path), container_id)
        else:
            container.create()
            command = runwasi.command("start", container_id)
        with (container.bundle.path / "stdout").open("ab") as output:
            starting = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        while "/run/notify/notify.sock" not in container.output:
            os.sched_yield()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inside:
            inside.connect(f"/proc/{container.pid}/root/run/notify/notify.sock")
            inside.send(b"STATUS=nearly")
            inside.send(b"READY=1")
        assert manager.recv(100) == b"READY=1\n"
        assert manager.recv(100) == f"MAINPID={container.pid}\n".encode()
        message, control, _, _ = manager.recvmsg(100, socket.CMSG_SPACE(4))
        assert message == b"BARRIER=1"
        os.close(array.array("i", control[0][2])[0])
        assert starting.wait(20) == 0
    runwasi("delete", "--force", container_id)
    assert not list(runwasi.root.parent.glob("*.notify"))


def test_a_pidfd_is_sent_where_it_is_asked_for(
    runwasi: Runtime, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    container = Detached(runwasi, bundle(["sleep", "100"]), container_id)
    with receiving(folder / "pidfd") as receive:
        container.run("--pidfd-socket", str(folder / "pidfd"))
        _, pidfd = receive()
    pid = container.pid
    assert f"Pid:\t{pid}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    os.close(pidfd)
    runwasi("delete", "--force", container_id)
    wait_for_exit(pid)
