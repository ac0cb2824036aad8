"""containerd's own shim for runc, with our command line in runc's place."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from devtools.containerd import RUNC, Containerd
from devtools.places import BIN
from tests.integration.conftest import BUSYBOX_IMAGE

PLACE = ("--runtime", RUNC, "--runc-binary", str(BIN / "runwasi"))


def test_a_container_runs_to_its_end(containerd: Containerd, new_id: Callable[[], str]) -> None:
    done = containerd.ctr(
        "run", "--rm", *PLACE, BUSYBOX_IMAGE, new_id(), "sh", "-c", "echo hello; exit 3", check=False
    )
    assert (done.stdout, done.returncode) == ("hello\n", 3)


def test_why_a_container_cannot_start_reaches_the_user(
    containerd: Containerd, new_id: Callable[[], str]
) -> None:
    refused = containerd.ctr("run", "--rm", *PLACE, BUSYBOX_IMAGE, new_id(), "/nowhere", check=False)
    assert refused.returncode == 1
    assert 'exec: "/nowhere": stat /nowhere: no such file or directory' in refused.stderr


def test_every_task_command_works(containerd: Containerd, new_id: Callable[[], str]) -> None:
    container = new_id()
    containerd.ctr("run", "--detach", "--null-io", *PLACE, BUSYBOX_IMAGE, container, "sleep", "100")
    try:
        done = containerd.ctr(
            "task", "exec", "--exec-id", "one", container, "sh", "-c", "hostname; exit 4", check=False
        )
        assert done.returncode == 4
        containerd.ctr("task", "pause", container)
        assert containerd.status_of(container) == "PAUSED"
        containerd.ctr("task", "resume", container)
        assert str(containerd.pid_of(container)) in containerd.ctr("task", "ps", container).stdout
        assert "memory.usage" in containerd.ctr("task", "metrics", container).stdout
    finally:
        containerd.ctr("task", "kill", "--signal", "SIGKILL", container)
        containerd.ctr("task", "delete", container, check=False)
        containerd.ctr("container", "delete", container)


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGUSR1"])
def test_signals_reach_the_program(containerd: Containerd, new_id: Callable[[], str], signal: str) -> None:
    container = new_id()
    program = f"trap 'exit 9' {signal.removeprefix('SIG')}; echo ready; while :; do sleep 0.05; done"
    command = containerd.ctr_command("run", "--rm", *PLACE, BUSYBOX_IMAGE, container, "sh", "-c", program)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        containerd.ctr("task", "kill", "--signal", signal, container)
        assert running.wait(30) == 9
