"""ctr run and its relatives, end to end, under our shim and under runc's."""

from __future__ import annotations

from tests.integration.conftest import BUSYBOX_IMAGE
from tests.support.containerd import Containerd


def test_run_prints_what_the_program_prints(containerd: Containerd, shim: str, container_id: str) -> None:
    done = containerd.ctr("run", "--rm", "--runtime", shim, BUSYBOX_IMAGE, container_id, "echo", "hello")
    assert done.stdout == "hello\n"


def test_run_exits_with_the_programs_status(containerd: Containerd, shim: str, container_id: str) -> None:
    done = containerd.ctr(
        "run", "--rm", "--runtime", shim, BUSYBOX_IMAGE, container_id, "sh", "-c", "exit 7", check=False
    )
    assert done.returncode == 7
