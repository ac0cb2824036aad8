"""containerd is killed and comes back: containers run on, no line is lost, every exit status is delivered."""

from __future__ import annotations

import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.containerd import HOSTS, Containerd, running_containerd
from devtools.waiting import until
from tests.integration.conftest import BUSYBOX_IMAGE
from tests.support.mode import OURS

_COUNT = "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo line $i; sleep 0.05; done; exit 7"


@pytest.fixture(params=list(HOSTS))
def restarted(
    request: pytest.FixtureRequest, session_name: str, session_folder: Path, busybox_image: Path, shims: Path
) -> Iterator[Containerd]:
    """A containerd of each release, for the test to kill and start again."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir=session_folder))
    host = HOSTS[request.param]
    with running_containerd(
        folder, host, namespace=session_name, images=[busybox_image], shims=shims
    ) as containerd:
        yield containerd


def start_counting(containerd: Containerd, container: str) -> Path:
    log = containerd.folder / f"{container}.log"
    containerd.ctr(
        *("run", "--detach", "--runtime", OURS, "--log-uri", f"file://{log}"),
        *(BUSYBOX_IMAGE, container, "sh", "-c", _COUNT),
    )
    return log


def wait_for(log: Path, line: str) -> None:
    until(lambda: log.read_text().splitlines(), lambda lines: line in lines)


def finish(containerd: Containerd, container: str) -> int:
    """Wait for a task's end, delete it, and return its exit status as containerd had it."""
    until(lambda: containerd.status_of(container), lambda status: status == "STOPPED")
    told = containerd.ctr("task", "delete", container).stderr
    containerd.ctr("container", "delete", container)
    match = re.search(r"exit code (\d+)", told)
    assert match, told
    return int(match[1])


def test_a_container_counts_on_while_containerd_is_away(restarted: Containerd, container_id: str) -> None:
    log = start_counting(restarted, container_id)
    wait_for(log, "line 3")
    restarted.stop(signal.SIGKILL)
    wait_for(log, "line 10")
    restarted.start()
    assert restarted.status_of(container_id) == "RUNNING"
    assert finish(restarted, container_id) == 7
    assert log.read_text().splitlines() == [f"line {i}" for i in range(1, 51)]


def test_an_exit_while_containerd_is_away_is_told_afterwards(
    restarted: Containerd, container_id: str
) -> None:
    start_counting(restarted, container_id)
    init = Path(f"/proc/{restarted.pid_of(container_id)}")
    restarted.stop(signal.SIGKILL)
    until(init.exists, lambda exists: not exists)  # its shim has reaped it, and has the status
    restarted.start()
    assert finish(restarted, container_id) == 7
