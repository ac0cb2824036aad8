"""containerd is killed and comes back: containers run on, no line is lost, every exit status is delivered."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.containerd import HOSTS, Containerd, running_containerd
from devtools.processes import parent_of
from devtools.waiting import until
from tests.integration.conftest import BUSYBOX_IMAGE
from tests.support.mode import OURS

_COUNT = (
    "trap 'end=1' TERM; i=0; while [ -z \"$end\" ]; do i=$((i+1)); echo line $i; sleep 0.05; done; exit 7"
)


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


class Counting:
    """A task that writes numbers to its log until it is told to end, and exits with 7; and its shim."""

    def __init__(self, containerd: Containerd, container: str) -> None:
        self._containerd, self._container = containerd, container
        self.log = containerd.folder / f"{container}.log"
        containerd.ctr(
            *("run", "--detach", "--runtime", OURS, "--log-uri", f"file://{self.log}"),
            *(BUSYBOX_IMAGE, container, "sh", "-c", _COUNT),
        )
        pid = containerd.pid_of(container)
        self._pid = pid
        self._shim = Path(f"/proc/{parent_of(pid)}")

    def wait_for(self, line: str) -> None:
        """Return when it has written a line."""
        until(lambda: self.log.read_text().splitlines(), lambda lines: line in lines)

    def end(self) -> None:
        """Tell it to end, and wait until its shim has reaped it, and so has the status."""
        self.wait_for("line 1")  # by now it catches the signal
        os.kill(self._pid, signal.SIGTERM)
        ended(Path(f"/proc/{self._pid}"))

    def finish(self) -> int:
        """Wait until containerd knows of its end, delete it, wait for its shim's end, and return its exit status."""
        containerd, container = self._containerd, self._container
        until(lambda: containerd.status_of(container), lambda status: status == "STOPPED")
        told = containerd.ctr("task", "delete", container).stderr
        containerd.ctr("container", "delete", container)
        ended(self._shim)  # which sends its last events first, to a containerd that is there
        match = re.search(r"exit code (\d+)", told)
        assert match, told
        return int(match[1])


def ended(process: Path) -> None:
    """Wait until a process, by its folder in /proc, has ended and is reaped."""
    until(process.exists, lambda exists: not exists)


def test_a_container_counts_on_while_containerd_is_away(restarted: Containerd, container_id: str) -> None:
    counting = Counting(restarted, container_id)
    counting.wait_for("line 3")
    restarted.stop(signal.SIGKILL)
    counting.wait_for("line 10")
    restarted.start()
    assert restarted.status_of(container_id) == "RUNNING"
    counting.end()
    assert counting.finish() == 7
    lines = counting.log.read_text().splitlines()
    assert lines == [f"line {i}" for i in range(1, len(lines) + 1)]


def test_an_exit_while_containerd_is_away_is_told_afterwards(
    restarted: Containerd, container_id: str
) -> None:
    counting = Counting(restarted, container_id)
    restarted.stop(signal.SIGKILL)
    counting.end()
    restarted.start()
    assert counting.finish() == 7
