"""Every method of the Task service in every state, the same on our shim and on containerd's for runc."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from devtools.ttrpc import CallError, task_service
from devtools.waiting import until
from runwasi.shim.server import codes
from runwasi.wire.messages import task_types
from runwasi.wire.messages.cgroups_v1 import Metrics as MetricsV1
from runwasi.wire.messages.cgroups_v2 import Metrics as MetricsV2
from runwasi.wire.messages.options import ProcessDetails
from runwasi.wire.messages.well_known import Any as Packed
from tests.support.detached import wait_for_exit
from tests.support.shim import EventSink, RunningShim, Shim, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.conftest import BundleMaker

SLEEP = ["sleep", "1000"]


@pytest.fixture
def task(either_shim: Shim, bundle: BundleMaker, container_id: str) -> Iterator[RunningShim]:
    """A shim whose container has not been created yet, and would sleep."""
    with running(either_shim, container_id, bundle(SLEEP)) as task:
        yield task


def process(*arguments: str) -> Packed:
    """A process for Exec."""
    document = {"args": list(arguments), "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
    return Packed(
        type_url="types.containerd.io/opencontainers/runtime-spec/1/Process",
        value=json.dumps(document).encode(),
    )


def refused(call: Callable[[], object]) -> CallError:
    with pytest.raises(CallError) as caught:
        call()
    return caught.value


def stop(task: RunningShim) -> None:
    task.call("Kill", signal=9)
    task.call("Wait")


def member(message: Any, *names: str) -> int:
    """A number inside of messages in messages."""
    for name in names:
        message = getattr(message, name)
    number: int = message
    return number


def state(task: RunningShim, **members: object) -> int:
    status: int = task.call("State", **members).status
    return status


# one container's life


def test_a_container_lives_from_create_to_delete(task: RunningShim) -> None:
    pid = task.create()
    created = task.call("State")
    assert (created.id, created.bundle) == (task.id, str(task.bundle.path))
    assert (created.pid, created.status, created.exit_status) == (pid, task_types.CREATED, 0)
    assert task.call("Start").pid == pid
    assert state(task) == task_types.RUNNING
    waiting = task.tasks.begin("Wait", id=task.id)
    task.call("Kill", signal=15, all=False)
    task.call("Kill", signal=9, all=False)
    ended = task.tasks.collect("Wait", waiting)
    assert ended.exit_status == 137
    assert ended.exited_at.seconds > 0
    assert state(task) == task_types.STOPPED
    deleted = task.call("Delete")
    assert (deleted.pid, deleted.exit_status) == (pid, 137)
    assert deleted.exited_at == ended.exited_at
    assert refused(lambda: task.call("State")).code == codes.NOT_FOUND


def test_the_exit_status_is_the_programs(either_shim: Shim, bundle: BundleMaker, container_id: str) -> None:
    with running(either_shim, container_id, bundle(["sh", "-c", "exit 7"])) as task:
        task.create()
        waiting = task.tasks.begin("Wait", id=task.id)
        task.call("Start")
        assert task.tasks.collect("Wait", waiting).exit_status == 7
        assert task.call("Wait").exit_status == 7


def test_events_come_in_the_order_things_happened(task: RunningShim, sink: EventSink) -> None:
    pid = task.run()
    task.call("Exec", exec_id="one", spec=process("true"))
    task.call("Start", exec_id="one")
    task.call("Wait", exec_id="one")
    stop(task)
    task.call("Delete")
    events = [sink.next() for _ in range(7)]
    assert [event.topic.removeprefix("/tasks/") for event in events] == [
        *("create", "start", "exec-added", "exec-started", "exit", "exit", "delete"),
    ]
    assert {event.namespace for event in events} == {task.shim.namespace}
    create, start, added, started, exec_exit, exit_, delete = (event.fields for event in events)
    assert (create.container_id, create.bundle, create.pid) == (task.id, str(task.bundle.path), pid)
    assert start.pid == pid
    assert added.exec_id == started.exec_id == exec_exit.id == "one"
    assert exec_exit.exit_status == 0
    assert (exit_.container_id, exit_.id, exit_.pid, exit_.exit_status) == (task.id, task.id, pid, 137)
    assert (delete.pid, delete.exit_status) == (pid, 137)


def test_the_init_is_the_last_to_exit(task: RunningShim, sink: EventSink) -> None:
    task.run()
    for exec_id in ("one", "two"):
        task.call("Exec", exec_id=exec_id, spec=process(*SLEEP))
        task.call("Start", exec_id=exec_id)
    assert len(sink.topics(6)) == 6
    stop(task)
    exits = [sink.next().fields for _ in range(3)]
    assert {event.id for event in exits[:2]} == {"one", "two"}
    assert exits[2].id == task.id
    assert [event.exit_status for event in exits] == [137] * 3


def test_pause_and_resume_are_told(task: RunningShim, sink: EventSink) -> None:
    task.run()
    task.call("Pause")
    assert state(task) == task_types.PAUSED
    task.call("Resume")
    assert state(task) == task_types.RUNNING
    assert sink.topics(4) == ["create", "start", "paused", "resumed"]


# what is refused, by state

UNKNOWN_ID = ["State", "Start", "Delete", "Pids", "Pause", "Resume", "Kill", "Exec", "ResizePty", "CloseIO"]
UNKNOWN_ID += ["Update", "Wait", "Stats", "Checkpoint"]


@pytest.mark.parametrize("method", UNKNOWN_ID)
def test_an_unknown_container_is_not_found(task: RunningShim, method: str) -> None:
    error = refused(lambda: task.call(method))
    assert (error.code, error.message) == (codes.NOT_FOUND, "container not created: not found")


def test_connect_and_shutdown_need_no_container(task: RunningShim) -> None:
    connected = task.call("Connect")
    assert (connected.shim_pid, connected.task_pid) == (task.pid, 0)


@pytest.mark.own_server
def test_shutdown_waits_for_the_last_container(task: RunningShim) -> None:
    pid = task.run()
    task.call("Shutdown")
    assert task.call("Connect").task_pid == pid
    stop(task)
    task.call("Delete")
    task.call("Shutdown")
    task.peer.close()
    wait_for_exit(task.pid)


REFUSED: dict[str, list[str]] = {
    "created": ["Pause", "Resume", "Checkpoint"],
    "running": ["Start", "Delete", "Resume"],
    "paused": ["Start", "Delete", "Pause"],
    "stopped": ["Start", "Pause", "Resume", "Update", "Exec", "Checkpoint"],
}


@pytest.mark.parametrize(("status", "method"), [(s, m) for s, methods in REFUSED.items() for m in methods])
def test_a_call_that_the_state_forbids_is_refused(task: RunningShim, status: str, method: str) -> None:
    task.create()
    if status != "created":
        task.call("Start")
    if status == "paused":
        task.call("Pause")
    if status == "stopped":
        stop(task)
    before = task.call("State")
    members: dict[str, Any] = {}
    if method == "Exec":
        members = {"exec_id": "one", "spec": process("true")}
    if method == "Update":
        members = {"resources": Packed(value=b"{}")}
    assert refused(lambda: task.call(method, **members)).code == codes.UNKNOWN
    assert task.call("State") == before


def test_a_container_never_started_can_be_deleted(task: RunningShim, sink: EventSink) -> None:
    task.create()
    task.call("Delete")
    assert refused(lambda: task.call("State")).code == codes.NOT_FOUND
    assert sink.next().topic == "/tasks/create"
    assert {"exit", "delete"} >= set(sink.topics(1))


def test_queries_are_answered_after_the_exit(task: RunningShim, sink: EventSink) -> None:
    pid = task.run()
    stop(task)
    assert task.call("Connect").task_pid == pid
    assert sink.topics(3) == ["create", "start", "exit"]
    # ours keeps the pid until the event is answered
    until(lambda: task.call("Pids").processes, lambda processes: not processes)
    assert task.call("Stats").stats.value
    task.call("CloseIO", stdin=True)
    task.call("ResizePty", width=80, height=24)
    task.call("Kill", signal=9, all=True)
    error = refused(lambda: task.call("Kill", signal=9))
    assert (error.code, error.message) == (codes.NOT_FOUND, "process already finished: not found")


def test_a_second_container_of_the_same_id_is_refused(task: RunningShim) -> None:
    task.create()
    assert refused(task.create).code in (codes.ALREADY_EXISTS, codes.UNKNOWN)
    assert state(task) == task_types.CREATED


# signals


def test_signal_0_only_asks_and_a_bad_one_is_refused(task: RunningShim) -> None:
    task.run()
    task.call("Kill", signal=0)
    assert refused(lambda: task.call("Kill", signal=200)).code == codes.UNKNOWN
    assert state(task) == task_types.RUNNING


# execs


def test_an_exec_has_a_life_of_its_own(task: RunningShim) -> None:
    task.run()
    task.call("Exec", exec_id="one", spec=process("sh", "-c", "exit 3"))
    assert state(task, exec_id="one") == task_types.CREATED
    assert refused(lambda: task.call("Kill", exec_id="one", signal=9)).code == codes.FAILED_PRECONDITION
    waiting = task.tasks.begin("Wait", id=task.id, exec_id="one")
    pid = task.call("Start", exec_id="one").pid
    ended = task.tasks.collect("Wait", waiting)
    assert ended.exit_status == 3
    after = task.call("State", exec_id="one")
    assert (after.id, after.pid, after.status, after.exit_status) == ("one", pid, task_types.STOPPED, 3)
    assert refused(lambda: task.call("Kill", exec_id="one", signal=9)).code == codes.NOT_FOUND
    assert refused(lambda: task.call("ResizePty", exec_id="one")).code == codes.UNKNOWN
    deleted = task.call("Delete", exec_id="one")
    assert (deleted.pid, deleted.exit_status) == (pid, 3)
    assert refused(lambda: task.call("State", exec_id="one")).code == codes.NOT_FOUND
    assert state(task) == task_types.RUNNING


def test_an_exec_is_listed_with_its_id(task: RunningShim) -> None:
    init = task.run()
    task.call("Exec", exec_id="one", spec=process(*SLEEP))
    pid = task.call("Start", exec_id="one").pid
    listed = {entry.pid: entry.info for entry in task.call("Pids").processes}
    assert listed.keys() == {init, pid}
    assert listed[init] is None
    assert listed[pid].type_url == "containerd.runc.v1.ProcessDetails"
    assert ProcessDetails.decode(listed[pid].value).exec_id == "one"


def test_an_exec_of_a_missing_program_fails_and_can_be_deleted(task: RunningShim) -> None:
    task.run()
    task.call("Exec", exec_id="one", spec=process("/no/such/program"))
    assert refused(lambda: task.call("Start", exec_id="one")).code == codes.UNKNOWN
    assert state(task, exec_id="one") == task_types.CREATED
    assert task.call("Wait", exec_id="one").exit_status == 0
    task.call("Delete", exec_id="one")


def test_an_exec_id_is_taken_once(task: RunningShim) -> None:
    task.run()
    task.call("Exec", exec_id="one", spec=process("true"))
    error = refused(lambda: task.call("Exec", exec_id="one", spec=process("true")))
    assert error.code == codes.ALREADY_EXISTS
    task.call("Start", exec_id="one")
    task.call("Wait", exec_id="one")
    task.call("Delete", exec_id="one")
    task.call("Exec", exec_id="one", spec=process("true"))


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("State", codes.NOT_FOUND),
        ("Wait", codes.NOT_FOUND),
        ("Delete", codes.NOT_FOUND),
        ("Kill", codes.NOT_FOUND),
        ("Start", codes.NOT_FOUND),
        ("ResizePty", codes.NOT_FOUND),
        ("CloseIO", codes.UNKNOWN),
    ],
)
def test_an_unknown_exec_is_not_found(task: RunningShim, method: str, code: int) -> None:
    task.run()
    assert refused(lambda: task.call(method, exec_id="nobody")).code == code


def test_an_exec_of_a_paused_container_is_refused_and_one_before_is_paused(task: RunningShim) -> None:
    task.run()
    task.call("Exec", exec_id="one", spec=process(*SLEEP))
    task.call("Start", exec_id="one")
    task.call("Pause")
    assert state(task, exec_id="one") == task_types.PAUSED
    refused(lambda: task.call("Exec", exec_id="two", spec=process("true")))
    task.call("Resume")
    assert state(task, exec_id="one") == task_types.RUNNING


# resources


def test_stats_come_under_the_type_of_the_hosts_cgroup_version(task: RunningShim) -> None:
    task.run()
    # Between its start and its program runc's init still has threads.
    until(lambda: Path(f"/proc/{task.call('State').pid}/comm").read_text(), lambda name: name == "sleep\n")
    stats = task.call("Stats").stats
    if stats.type_url == "io.containerd.cgroups.v1.Metrics":
        v1 = MetricsV1.decode(stats.value)
        assert member(v1, "cpu", "usage", "total") > 0
        assert member(v1, "memory", "usage", "usage") > 0
        assert member(v1, "pids", "current") == 1
    else:
        assert stats.type_url == "io.containerd.cgroups.v2.Metrics"
        v2 = MetricsV2.decode(stats.value)
        assert member(v2, "cpu", "usage_usec") > 0
        assert member(v2, "memory", "usage") > 0
        assert member(v2, "pids", "current") == 1


def test_update_changes_a_limit(task: RunningShim) -> None:
    task.run()
    limit = 64 << 20
    resources = Packed(
        type_url="types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
        value=json.dumps({"memory": {"limit": limit}}).encode(),
    )
    task.call("Update", resources=resources)
    stats = task.call("Stats").stats
    if stats.type_url == "io.containerd.cgroups.v1.Metrics":
        assert member(MetricsV1.decode(stats.value), "memory", "usage", "limit") == limit
    else:
        assert member(MetricsV2.decode(stats.value), "memory", "usage_limit") == limit


# both versions of the service


def test_version_3_serves_the_same_tasks(task: RunningShim) -> None:
    if task.shim.kind == "runc":
        return  # containerd 1.6's knows version 2 only
    pid = task.run()
    assert task_service(task.peer, "v3").call("State", id=task.id).pid == pid
