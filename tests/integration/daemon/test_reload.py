"""A node daemon that is replaced in place: on SIGHUP it executes what is installed now, and all goes on."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import json
import os
import resource
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from devtools.daemon import Daemon
from devtools.places import BIN
from devtools.ttrpc import Peer, task_service
from runwasi.node.state_roots import shim_root
from runwasi.wire.messages import task_types
from runwasi.wire.messages.well_known import Any as Packed
from tests.support.fifos import reader_of_new_fifo, writer_of_new_fifo
from tests.support.node_daemon import running_daemon
from tests.support.shim import EventSink, Shim, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from devtools.bundle import Bundle
    from tests.integration.conftest import BundleMaker

SLEEP = ["sleep", "1000"]
LIFE = ["create", "start", "exit", "delete"]


def process(*arguments: str) -> Packed:
    document = {"args": list(arguments), "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
    return Packed(
        type_url="types.containerd.io/opencontainers/runtime-spec/1/Process",
        value=json.dumps(document).encode(),
    )


def test_a_pod_goes_on_with_its_connection_calls_and_events(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str, sink: EventSink
) -> None:
    with running(shared_shim, container_id, bundle(SLEEP)) as task:
        task.run()
        waiting = task.tasks.begin("Wait", id=task.id)
        daemon.reload()
        assert task.call("Connect").shim_pid == daemon.pid
        assert task.call("State").status == task_types.RUNNING
        task.call("Kill", signal=9)
        assert task.tasks.collect("Wait", waiting).exit_status == 137
        task.call("Delete")
        assert sink.topics(4) == LIFE
        task.call("Shutdown")
        assert task.ended()
    with running(shared_shim, f"{container_id}-2", bundle(["true"])) as other:
        assert other.pid == daemon.pid


def test_processes_in_every_state_go_on(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str, sink: EventSink
) -> None:
    with running(shared_shim, container_id, bundle(SLEEP)) as task:
        task.create()
        daemon.reload()
        assert task.call("State").status == task_types.CREATED
        task.call("Start")
        for exec_id in ("added", "running", "ended"):
            task.call(
                "Exec",
                exec_id=exec_id,
                spec=process(*(["sh", "-c", "exit 3"] if exec_id == "ended" else SLEEP)),
            )
        task.call("Start", exec_id="running")
        task.call("Start", exec_id="ended")
        assert task.call("Wait", exec_id="ended").exit_status == 3
        ended_at = task.call("State", exec_id="ended").exited_at
        daemon.reload()
        states = [task.call("State", exec_id=exec_id) for exec_id in ("added", "running", "ended")]
        assert [state.status for state in states] == [
            task_types.CREATED,
            task_types.RUNNING,
            task_types.STOPPED,
        ]
        assert (states[2].exit_status, states[2].exited_at) == (3, ended_at)
        task.call("Start", exec_id="added")
        for exec_id in ("added", "running"):
            task.call("Kill", exec_id=exec_id, signal=9)
            assert task.call("Wait", exec_id=exec_id).exit_status == 137
        task.call("Pause")
        daemon.reload()
        assert task.call("State").status == task_types.PAUSED
        task.call("Resume")
        task.call("Kill", signal=9)
        task.call("Wait")
        daemon.reload()
        assert task.call("State").status == task_types.STOPPED
        task.call("Delete")
        topics = sink.topics(15)
        once = ("create", "start", "paused", "resumed", "delete")
        assert collections.Counter(topics) == {
            **dict.fromkeys(once, 1),
            "exec-added": 3,
            "exec-started": 3,
            "exit": 4,
        }


def test_streams_go_on(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    writer, reader = writer_of_new_fifo(folder / "in"), reader_of_new_fifo(folder / "out")
    with running(shared_shim, container_id, bundle(["sh", "-c", "cat; echo end"])) as task:
        task.run(stdin=str(folder / "in"), stdout=str(folder / "out"))
        os.write(writer, b"before\n")
        daemon.reload()
        os.write(writer, b"after\n")
        os.close(writer)
        task.call("CloseIO", stdin=True)
        with open(reader, "rb") as output:
            assert output.read() == b"before\nafter\nend\n"
        assert task.call("Wait").exit_status == 0


def test_output_without_a_reader_waits_for_one(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    stdout = folder / "out"
    os.mkfifo(stdout)
    with running(shared_shim, container_id, bundle(["echo", "late"])) as task:
        task.run(stdout=str(stdout))
        task.call("Wait")
        daemon.reload()
        assert stdout.read_bytes() == b"late\n"


def test_a_terminal_goes_on(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str, folder: Path
) -> None:
    writer, reader = writer_of_new_fifo(folder / "in"), reader_of_new_fifo(folder / "out")
    with running(
        shared_shim, container_id, bundle(["sh", "-c", "read a; read b; stty size; echo $a-$b"])
    ) as task:
        task.run(stdin=str(folder / "in"), stdout=str(folder / "out"), terminal=True)
        os.write(writer, b"one\n")
        daemon.reload()
        task.call("ResizePty", width=77, height=33)
        os.write(writer, b"two\n")
        with open(reader, "rb") as output:
            assert output.read().replace(b"\r", b"").split(b"\n")[-3:] == [b"33 77", b"one-two", b""]
        os.close(writer)


def test_a_limit_of_memory_is_watched_on(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str, sink: EventSink
) -> None:
    made = bundle(["sh", "-c", "read go < /go; exec tail /dev/zero"])
    os.mkfifo(made.rootfs / "go")
    made.linux["resources"] = {"memory": {"limit": 16 << 20}}
    made.write()
    with running(shared_shim, container_id, made) as task:
        task.run()
        daemon.reload()
        (made.rootfs / "go").write_text("go\n")
        assert task.call("Wait").exit_status == 137
        assert "oom" in sink.topics(4)


def test_reloading_under_load_loses_no_event_and_doubles_none(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, new_id: Callable[[], str], sink: EventSink
) -> None:
    pods = [(new_id(), bundle(SLEEP)) for _ in range(4)]
    lives = 12

    def live(pod: tuple[str, Bundle]) -> None:
        """Run containers one after the other in a pod that lives longer, each waited for by another client."""
        group, made = pod
        with running(shared_shim, group, made) as task, Peer(task.address) as other:
            waits = task_service(other)
            for number in range(lives):
                name = f"{group}-{number}"
                task.tasks.call("Create", id=name, bundle=str(made.path))
                waiting = waits.begin("Wait", id=name)
                task.tasks.call("Start", id=name)
                task.tasks.call("Kill", id=name, signal=9)
                assert waits.collect("Wait", waiting).exit_status == 137
                task.tasks.call("Delete", id=name)
            task.call("Shutdown")

    with concurrent.futures.ThreadPoolExecutor(len(pods)) as pool:
        running_pods = [pool.submit(live, pod) for pod in pods]
        reloads = 0
        while not all(done.done() for done in running_pods):
            daemon.reload()
            reloads += 1
        for done in running_pods:
            done.result()
    assert reloads > 1
    heard: dict[str, list[str]] = collections.defaultdict(list)
    for _ in range(len(pods) * lives * len(LIFE)):
        event = sink.next()
        heard[event.fields.container_id].append(event.topic.removeprefix("/tasks/"))
    assert len(heard) == len(pods) * lives
    assert all(topics == LIFE for topics in heard.values())
    assert sink.empty()


def test_a_program_that_cannot_go_on_takes_nobodys_place(
    folder: Path, shared_shim: Shim, bundle: BundleMaker, container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = folder / "containerd-wasmtimed"
    program.symlink_to(BIN / "containerd-wasmtimed")
    with (
        running_daemon(folder, monkeypatch, program=program) as daemon,
        running(shared_shim, container_id, bundle(["true"])) as task,
    ):
        program.unlink()
        program.write_text("#!/bin/sh\necho 0\n")
        program.chmod(0o755)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("cannot be replaced by the program installed now")
        task.run()
        task.call("Wait")
        task.call("Delete")
        task.call("Shutdown")


def test_a_replacement_waits_for_work_in_progress(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str, sink: EventSink
) -> None:
    with running(shared_shim, container_id, bundle(SLEEP)) as task:
        sink.pause()
        task.create()  # whose event containerd has not taken yet
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("not replaced yet")
        sink.go_on()
        task.call("Start")
        daemon.wait_for("serving")
        task.call("Kill", signal=9)
        task.call("Wait")
        task.call("Delete")
        assert sink.topics(4) == LIFE


def test_the_end_is_not_missed_that_comes_while_it_is_replaced(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(shared_shim, container_id, bundle(SLEEP)) as task:
        task.run()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("serving")
        task.call("Kill", signal=9)
        task.call("Wait")
        task.call("Delete")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.process.send_signal(signal.SIGTERM)
        task.call("Shutdown")
    assert daemon.process.wait(20) == 0


def test_more_descriptors_than_containers_may_have_go_on(
    folder: Path, shared_shim: Shim, bundle: BundleMaker, container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 64
    made = bundle(SLEEP)
    made.process.pop("rlimits", None)
    made.write()
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        with (
            running_daemon(folder, monkeypatch) as daemon,
            running(shared_shim, container_id, made) as task,
            contextlib.ExitStack() as clients,
        ):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            task.create()
            for _ in range(few):
                clients.enter_context(Peer(task.address))
            daemon.reload()
            pid = task.call("Start").pid
            assert resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE) == (hard, hard)
            task.call("Kill", signal=9)
            task.call("Wait")
            task.call("Delete")
            pid = task.run()
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (few, hard)
            task.call("Kill", signal=9)
            task.call("Wait")
            task.call("Delete")
            task.call("Shutdown")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_daemon_with_too_many_open_files_to_hold_twice_waits_until_it_has_fewer(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with running(shared_shim, container_id, bundle(SLEEP)) as task, contextlib.ExitStack() as lasting:
        task.run()
        waiting = task.tasks.begin("Wait", id=task.id)
        with contextlib.ExitStack() as clients:
            for number in range(60):
                peer = (lasting if number < 30 else clients).enter_context(Peer(task.address))
            task_service(peer).call("Connect", id=task.id)  # the last one: by now all are accepted
            resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (160, 160))
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_for("not replaced yet")
            assert "the hard limit of open files is 160: raise it" in daemon.log[-1]
        daemon.wait_for("serving")
        task.call("Kill", signal=9)
        assert task.tasks.collect("Wait", waiting).exit_status == 137
        task.call("Delete")
        task.call("Shutdown")


def test_a_pod_that_cannot_be_taken_over_is_dropped_after_some_attempts_and_the_others_go_on(
    daemon: Daemon, shared_shim: Shim, bundle: BundleMaker, container_id: str
) -> None:
    with (
        running(shared_shim, container_id, bundle(SLEEP)) as task,
        running(shared_shim, f"{container_id}-2", bundle(SLEEP)) as other,
    ):
        waits = []
        for each in (task, other):
            each.run()
            waits.append(each.tasks.begin("Wait", id=each.id))
        state = Path(shim_root("wasmtime", shared_shim.namespace), other.id, "state.json")
        kept = state.read_bytes()
        state.write_bytes(b"{")
        daemon.reload()
        assert sum('msg="cannot take over yet"' in line for line in daemon.log) == 2
        assert other.ended()
        state.write_bytes(kept)
        assert shared_shim.delete(other.id, other.bundle).returncode == 0
        task.call("Kill", signal=9)
        assert task.tasks.collect("Wait", waits[0]).exit_status == 137
        task.call("Delete")
        task.call("Shutdown")
        assert task.ended()


def test_the_service_manager_hears_of_a_daemon_that_began_again(
    folder: Path, shared_shim: Shim, bundle: BundleMaker, container_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(20)
        manager.bind(str(path))
        environment = {**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "60000000"}
        with (
            running_daemon(folder, monkeypatch, env=environment) as daemon,
            running(shared_shim, container_id, bundle(SLEEP)) as task,
        ):
            task.run()
            state = Path(shim_root("wasmtime", shared_shim.namespace), task.id, "state.json")
            kept = state.read_bytes()
            state.write_bytes(b"{")
            daemon.reload()
            assert sum('msg="cannot take over yet"' in line for line in daemon.log) == 2
            state.write_bytes(kept)
            assert shared_shim.delete(task.id, task.bundle).returncode == 0
            alive = [b"READY=1", b"WATCHDOG=1"]
            assert [manager.recv(100) for _ in range(5)] == [*alive, b"RELOADING=1", *alive]
