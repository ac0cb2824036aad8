"""The server as a process: quiet, and a good parent."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devtools.waiting import until
from tests.support.quiet import waits_for_events_alone
from tests.support.shim import Shim, running

if TYPE_CHECKING:
    from tests.integration.conftest import BundleMaker


def children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_a_pod_with_nothing_to_do_does_not_wake_up(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(our_shim, container_id, bundle(["sleep", "1000"])) as task:
        task.run()
        until(lambda: waits_for_events_alone(task.pid), bool)


@pytest.mark.own_server
def test_ps_shows_the_server_by_its_programs_name(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    def shown() -> bytes:
        return Path(f"/proc/{task.pid}/cmdline").read_bytes()

    with running(our_shim, container_id, bundle(["sleep", "1000"])) as task:
        until(shown, lambda text: text.startswith(b"containerd-shim-wasmtime-v1 -namespace "))
        assert container_id.encode() in shown()


@pytest.mark.own_server
def test_orphans_of_a_container_are_reaped(our_shim: Shim, bundle: BundleMaker, container_id: str) -> None:
    made = bundle(["sh", "-c", "(sleep 1000 & sleep 1000 &); exec sleep 1000"])
    made.linux["namespaces"] = [entry for entry in made.linux["namespaces"] if entry["type"] != "pid"]
    made.write()
    with running(our_shim, container_id, made) as task:
        init = task.run()
        adopted = until(lambda: children(task.pid) - {init}, lambda orphans: len(orphans) == 2)
        for pid in adopted:
            os.kill(pid, signal.SIGKILL)
        until(lambda: children(task.pid), lambda left: left == {init})
        assert task.call("State").pid == init
