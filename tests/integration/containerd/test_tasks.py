"""A task's life by `ctr task`, on each release of containerd, under our shim and under runc's alike."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from devtools.containerd import Containerd
from devtools.waiting import until
from tests.integration.conftest import BUSYBOX_IMAGE, DEMO_IMAGE
from tests.support.events import watching
from tests.support.mode import OURS

_FOREVER = ("sh", "-c", "trap 'exit 3' TERM; echo ready; while true; do sleep 1000 & wait; done")


def test_events_come_in_order_with_pid_and_status(
    each_containerd: Containerd, shim: str, container_id: str
) -> None:
    with watching(each_containerd) as events:
        done = each_containerd.ctr(
            "run", "--rm", "--runtime", shim, BUSYBOX_IMAGE, container_id, "sh", "-c", "exit 5", check=False
        )
        assert done.returncode == 5, done.stderr
        # runc's shim of 2.1 at times exits before it has told of the delete.
        seen = events.until("/tasks/delete" if shim == OURS else "/tasks/exit")
    told = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
    assert [event.topic for event in seen] == told[: len(seen)]
    created, started, exited = (event.fields for event in seen[:3])
    assert created["pid"] == started["pid"] == exited["pid"] > 1
    assert exited["id"] == exited["container_id"] == container_id
    assert [event.fields["exit_status"] for event in seen[2:]] == [5] * len(seen[2:])


def test_a_killed_task_tells_its_status(each_containerd: Containerd, shim: str, container_id: str) -> None:
    with (
        watching(each_containerd) as events,
        each_containerd.task(shim, BUSYBOX_IMAGE, container_id, *_FOREVER),
    ):
        assert each_containerd.status_of(container_id) == "RUNNING"
        until(lambda: each_containerd.output_of(container_id), lambda output: output == "ready\n")
        each_containerd.ctr("task", "kill", container_id)
        assert events.next("/tasks/exit").fields["exit_status"] == 3
        assert each_containerd.status_of(container_id) == "STOPPED"
        assert "exit code 3" in each_containerd.ctr("task", "delete", container_id).stderr


def test_kill_of_what_has_ended_says_that_it_is_not_there(
    each_containerd: Containerd, shim: str, container_id: str
) -> None:
    with watching(each_containerd) as events, each_containerd.task(shim, BUSYBOX_IMAGE, container_id, "true"):
        events.next("/tasks/exit")
        done = each_containerd.ctr("task", "kill", container_id, check=False)
        assert done.returncode != 0
        assert "process already finished" in done.stderr


def test_delete_of_a_running_task_is_refused(
    each_containerd: Containerd, shim: str, container_id: str
) -> None:
    with each_containerd.task(shim, BUSYBOX_IMAGE, container_id, *_FOREVER):
        done = each_containerd.ctr("task", "delete", container_id, check=False)
        assert done.returncode != 0
        assert each_containerd.status_of(container_id) == "RUNNING"


def test_exec_runs_beside_init_with_a_status_of_its_own(
    each_containerd: Containerd, shim: str, container_id: str
) -> None:
    with each_containerd.task(shim, BUSYBOX_IMAGE, container_id, *_FOREVER):
        done = each_containerd.ctr(
            "task",
            "exec",
            "--exec-id",
            "one",
            container_id,
            "sh",
            "-c",
            "cat; hostname; exit 4",
            stdin="in\n",
            check=False,
        )
        assert done.returncode == 4
        assert done.stdout.startswith("in\n")
        assert each_containerd.status_of(container_id) == "RUNNING"


def test_exec_of_a_missing_program_names_it_and_the_task_lives_on(
    each_containerd: Containerd, shim: str, container_id: str
) -> None:
    with each_containerd.task(shim, BUSYBOX_IMAGE, container_id, *_FOREVER):
        done = each_containerd.ctr(
            "task", "exec", "--exec-id", "one", container_id, "/bin/absent", check=False
        )
        assert done.returncode != 0
        assert "/bin/absent" in done.stderr
        again = each_containerd.ctr("task", "exec", "--exec-id", "one", container_id, "echo", "again")
        assert again.stdout == "again\n"


def test_a_paused_task_stands_still_until_resumed(
    each_containerd: Containerd, shim: str, container_id: str
) -> None:
    counting = ("sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; usleep 10000; done")
    with (
        each_containerd.task(shim, BUSYBOX_IMAGE, container_id, *counting),
        watching(each_containerd) as events,
    ):
        each_containerd.ctr("task", "pause", container_id)
        events.next("/tasks/paused")
        assert each_containerd.status_of(container_id) == "PAUSED"
        each_containerd.ctr("task", "resume", container_id)
        events.next("/tasks/resumed")
        assert each_containerd.status_of(container_id) == "RUNNING"


def test_ps_lists_the_processes(each_containerd: Containerd, shim: str, container_id: str) -> None:
    def listed() -> list[str]:
        lines = each_containerd.ctr("task", "ps", container_id).stdout.splitlines()
        return [line.split()[0] for line in lines[1:]]

    with each_containerd.task(shim, BUSYBOX_IMAGE, container_id, *_FOREVER) as pid:
        assert str(pid) in until(listed, lambda pids: len(pids) == 2)


def test_metrics_tell_what_the_cgroup_says(each_containerd: Containerd, shim: str, container_id: str) -> None:
    limit = 64 << 20
    with each_containerd.task(
        shim, BUSYBOX_IMAGE, container_id, *_FOREVER, options=("--memory-limit", str(limit))
    ) as pid:
        command = ("task", "metrics", "--format", "json", container_id)
        metrics = until(
            lambda: json.loads(each_containerd.ctr(*command).stdout),
            lambda metrics: metrics["pids"]["current"] == 2,
        )
        assert _memory_limit(metrics) == limit
        assert Path(f"/proc/{pid}").is_dir()


def _memory_limit(metrics: dict[str, Any]) -> int:
    memory = metrics["memory"]
    limit: int = memory["usage"]["limit"] if isinstance(memory["usage"], dict) else memory["usage_limit"]
    return limit


def test_an_id_in_use_is_refused(each_containerd: Containerd, shim: str, container_id: str) -> None:
    with each_containerd.task(shim, BUSYBOX_IMAGE, container_id, *_FOREVER):
        done = each_containerd.ctr(
            "run", "--rm", "--runtime", shim, BUSYBOX_IMAGE, container_id, "true", check=False
        )
        assert done.returncode != 0
        assert "already exists" in done.stderr


def test_init_killed_from_outside_is_noticed(
    each_containerd: Containerd, shim: str, container_id: str
) -> None:
    with (
        watching(each_containerd) as events,
        each_containerd.task(shim, BUSYBOX_IMAGE, container_id, *_FOREVER) as pid,
    ):
        os.kill(pid, signal.SIGKILL)
        assert events.next("/tasks/exit").fields["exit_status"] == 137


def test_wasm_ends_on_sigterm(each_containerd: Containerd, container_id: str) -> None:
    with watching(each_containerd) as events, each_containerd.task(OURS, DEMO_IMAGE, container_id):
        each_containerd.ctr("task", "kill", container_id)
        assert events.next("/tasks/exit").fields["exit_status"] == 128 + signal.SIGTERM


def test_tasks_outlive_a_restart_of_containerd(
    each_containerd: Containerd, shim: str, container_id: str
) -> None:
    with each_containerd.task(shim, BUSYBOX_IMAGE, container_id, *_FOREVER) as pid:
        until(lambda: each_containerd.output_of(container_id), lambda output: output == "ready\n")
        each_containerd.stop(signal.SIGKILL)
        each_containerd.start()
        assert each_containerd.status_of(container_id) == "RUNNING"
        assert each_containerd.pid_of(container_id) == pid
        with watching(each_containerd) as events:
            each_containerd.ctr("task", "kill", container_id)
            assert events.next("/tasks/exit").fields["exit_status"] == 3
