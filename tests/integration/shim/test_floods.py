"""Floods from a container: output, processes and descriptors without end do not hurt its shim."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devtools.processes import is_zombie
from devtools.waiting import until
from tests.support.detached import wait_for_exit
from tests.support.shim import RunningShim, Shim, running

if TYPE_CHECKING:
    from devtools.bundle import Bundle
    from tests.integration.conftest import BundleMaker

MIB = 1 << 20


def resident(pid: int) -> int:
    """The memory of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def answers_on(task: RunningShim, *, seconds: float) -> None:
    """See that calls are answered all the time, in a shim that has not grown in the end."""
    task.call("State")
    memory, fds = resident(task.pid), descriptors(task.pid)
    over, longest = time.monotonic() + seconds, 0.0
    while (began := time.monotonic()) < over:
        task.call("State")
        task.call("Pids")
        longest = max(longest, time.monotonic() - began)
    assert longest < 5
    assert resident(task.pid) < memory + 4 * MIB
    # One more: a server that has come to rest meanwhile keeps a procfs, to copy it for the views of guests.
    assert descriptors(task.pid) <= fds + 1


def end(task: RunningShim) -> None:
    task.call("Kill", signal=9, all=True)
    assert task.call("Wait").exit_status == 137
    task.call("Delete")


@pytest.mark.parametrize("output", ["file:///dev/null", "fifo"])
def test_a_terminal_that_writes_without_end_stops_nobody_else(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path, output: str
) -> None:
    made = bundle(["sh", "-c", "yes & yes & yes & yes"])
    made.process["terminal"] = True
    reader = -1
    if output == "fifo":  # that nobody reads
        output = str(folder / "out")
        os.mkfifo(output)
        reader = os.open(output, os.O_RDONLY | os.O_NONBLOCK)
    with running(our_shim, container_id, made.write()) as task:
        task.run(terminal=True, stdout=output)
        answers_on(task, seconds=2)
        end(task)
    if reader >= 0:
        os.close(reader)


def test_output_without_a_reader_stays_in_its_pipe(
    our_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    for name in ("out", "err"):
        os.mkfifo(folder / name)
    with running(our_shim, container_id, bundle(["sh", "-c", "yes >&2 & yes"])) as task:
        task.run(stdout=str(folder / "out"), stderr=str(folder / "err"))
        answers_on(task, seconds=1)
        end(task)


def without_own_processes(made: Bundle) -> Bundle:
    made.linux["namespaces"] = [entry for entry in made.linux["namespaces"] if entry["type"] != "pid"]
    return made.write()


def zombies_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(is_zombie(child) for child in children)


def test_orphans_without_end_are_reaped(our_shim: Shim, bundle: BundleMaker, container_id: str) -> None:
    # Without a pid namespace whatever a container's processes leave behind becomes the shim's child.
    script = "for i in $(seq 2000); do (true &); done; echo done >&2; exec sleep 1000"
    made = without_own_processes(bundle(["sh", "-c", script]))
    made.linux["resources"]["pids"] = {"limit": 1000}
    made.write()
    with running(our_shim, container_id, made) as task:
        pid = task.run()
        answers_on(task, seconds=3)
        until(lambda: Path(f"/proc/{pid}/comm").read_text(), lambda name: name == "sleep\n")
        until(lambda: zombies_of(task.pid), lambda count: count == 0)
        end(task)


def test_zombies_that_nobody_reaps_are_the_containers_own(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    # The init, sleep, does not wait for what its shell has started before it.
    script = "for i in $(seq 400); do true & done; exec sleep 1000"
    with running(our_shim, container_id, bundle(["sh", "-c", script])) as task:
        pid = task.run()
        until(lambda: Path(f"/proc/{pid}/comm").read_text(), lambda name: name == "sleep\n")
        answers_on(task, seconds=1)
        assert zombies_of(pid) == 400
        end(task)
        wait_for_exit(pid)


def test_descriptors_without_end_are_the_containers_own(
    our_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    script = 'i=10; while eval "exec $i</dev/null"; do i=$((i + 1)); done 2>/dev/null'
    made = bundle(["sh", "-c", f"({script}); exec sleep 1000"])
    with running(our_shim, container_id, made) as task:
        task.run()
        answers_on(task, seconds=1)
        end(task)
