"""Checkpoint and restore through the Task service and through containerd."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devtools.bundle import make_bundle
from devtools.containerd import HOSTS, WASMTIME, Containerd, running_containerd
from devtools.oci_image import busybox_layer, write_image
from devtools.ttrpc import CallError
from devtools.waiting import until
from runwasi.wire.messages import task_types
from runwasi.wire.messages.options import CheckpointOptions
from runwasi.wire.messages.well_known import Any
from tests.support.shim import EventSink, Shim, running

IMAGE = "localhost/busybox:latest"
SAVED = "localhost/saved:latest"
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"


@pytest.fixture
def folder(session_name: str) -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix=f"{session_name}-") as path:
        yield Path(path)


@pytest.fixture
def our_shim(session_name: str, folder: Path) -> Iterator[Shim]:
    sink = EventSink(folder / "containerd.sock.ttrpc")
    shim = Shim("runwasi", session_name, sink)
    yield shim
    shim.clean()
    sink.close()


def options(**members: bool) -> Any:
    return Any(
        type_url="containerd.runc.v1.CheckpointOptions",
        value=CheckpointOptions(**members).encode(),  # type: ignore[arg-type]
    )


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


def test_a_task_is_restored_by_its_start(our_shim: Shim, folder: Path, container_id: str) -> None:
    bundle = make_bundle(folder / "b", ["sh", "-c", f"trap 'exit 5' TERM; {COUNT}"])
    first, second, images = folder / "first", folder / "second", folder / "images"
    with running(our_shim, container_id, bundle) as task:
        task.run(stdout=f"file://{first}")
        until(lambda: numbers(first) if first.exists() else [], len)
        task.call("Checkpoint", path=str(images), options=options())
        assert task.call("State").status == task_types.RUNNING
        assert (images / "inventory.img").exists()
        assert not (images / "dump.log").exists()
        task.call("Pause")
        task.call("Checkpoint", path=str(images), options=options(exit=True))
        assert task.call("Wait").exit_status == 137
        task.call("Delete")
        assert our_shim.sink.topics(4) == ["create", "start", "checkpointed", "paused"]
        assert sorted(our_shim.sink.topics(2)) == ["checkpointed", "exit"]  # whoever notices it first
        assert our_shim.sink.topics(1) == ["delete"]
        reached = numbers(first)[-1]

        with pytest.raises(CallError, match="not a checkpoint of a container"):
            task.create(checkpoint=str(folder))
        assert task.create(checkpoint=str(images), stdout=f"file://{second}") == 0
        state = task.call("State")
        assert (state.status, state.pid) == (task_types.CREATED, 0)
        for method in ("Kill", "Exec"):
            with pytest.raises(CallError, match="restored by its start"):
                task.call(method, **({"exec_id": "more"} if method == "Exec" else {"signal": 15}))
        assert task.call("Pids").processes == ()
        pid = task.call("Start").pid
        state = task.call("State")
        assert (state.status, state.pid) == (task_types.RUNNING, pid)
        assert pid in [process.pid for process in task.call("Pids").processes]
        assert (bundle.path / "init.pid").read_text() == str(pid)
        counted = until(lambda: numbers(second), lambda seen: len(seen) > 2)
        assert counted == list(range(reached + 1, reached + 1 + len(counted)))
        task.call("Kill", signal=15)
        assert task.call("Wait").exit_status == 5
        task.call("Delete")
        assert our_shim.sink.topics(4) == ["create", "start", "exit", "delete"]

        (images / "pstree.img").write_bytes(b"")
        task.create(checkpoint=str(images))
        with pytest.raises(CallError, match="criu restore failed"):
            task.call("Start")
        assert not Path(f"/sys/fs/cgroup/{container_id}").exists()
        task.call("Delete")


def test_containerd_restores_a_container_from_its_image(
    folder: Path, session_name: str, container_id: str
) -> None:
    archive = folder / "busybox.tar"
    write_image(archive, IMAGE, busybox_layer(), command=["/bin/sh"])
    host = HOSTS["1.6"]
    with running_containerd(folder / "c", host, namespace=session_name, images=[archive]) as containerd:
        program = COUNT.replace("echo $i", "echo $i >>/tmp/count")

        def count() -> int:
            shown = containerd.ctr(
                "task", "exec", "--exec-id", "look", container_id, "tail", "-n1", "/tmp/count", check=False
            )
            return int(shown.stdout or 0)

        containerd.ctr("run", "--detach", "--runtime", WASMTIME, IMAGE, container_id, "sh", "-c", program)
        reached = until(count, bool)
        containerd.ctr("container", "checkpoint", "--rw", "--image", "--task", container_id, SAVED)
        assert containerd.status_of(container_id) == "RUNNING"
        remove(containerd, container_id)
        with (folder / "restored.log").open("wb") as log:
            done = subprocess.run(
                containerd.ctr_command("container", "restore", "--rw", "--live", container_id, SAVED),
                check=False,
                env=containerd.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        assert done.returncode == 0, (folder / "restored.log").read_text()
        assert containerd.status_of(container_id) == "RUNNING"
        assert until(count, lambda seen: seen > reached) > reached
        remove(containerd, container_id)


def remove(containerd: Containerd, container_id: str) -> None:
    ctr = containerd.ctr
    ctr("task", "kill", "--signal", "SIGKILL", container_id)
    until(lambda: ctr("task", "delete", container_id, check=False), lambda done: done.returncode in {0, 137})
    ctr("container", "delete", container_id)
