"""The Sandbox service: a pod without a pause container, and containers that join it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from devtools.ttrpc import CallError, Methods
from runwasi.shim.server import codes
from runwasi.wire.messages import pod_sandbox
from runwasi.wire.messages.sandbox import SANDBOX_METHODS
from runwasi.wire.messages.well_known import Any
from tests.support.fifos import reader_of_new_fifo
from tests.support.hung_mount import HungMount
from tests.support.shim import EventSink, RunningShim, Shim, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import BundleMaker


@pytest.fixture
def task(session_name: str, sink: EventSink, bundle: BundleMaker, container_id: str) -> Iterator[RunningShim]:
    shim = Shim("runwasi", session_name, sink)
    with running(shim, container_id, bundle(["sh", "-c", "hostname; sleep 1000"])) as task:
        yield task
        sandbox_of(task).call("ShutdownSandbox", sandbox_id=task.id)
    shim.clean()


def sandbox_of(task: RunningShim) -> Methods:
    return Methods(task.peer, "containerd.runtime.sandbox.v1.Sandbox", SANDBOX_METHODS)


def config(pid: int = pod_sandbox.POD) -> Any:
    security = pod_sandbox.LinuxSandboxSecurityContext(namespace_options=pod_sandbox.NamespaceOption(pid=pid))
    pod = pod_sandbox.PodSandboxConfig(
        hostname="pod-name",
        linux=pod_sandbox.LinuxPodSandboxConfig(
            security_context=security, sysctls={"kernel.shmmax": "65536"}
        ),
    )
    return Any(type_url="runtime.v1.PodSandboxConfig", value=pod.encode())


def start(task: RunningShim, options: Any) -> int:
    sandbox = sandbox_of(task)
    sandbox.call("CreateSandbox", sandbox_id=task.id, bundle_path=str(task.bundle.path), options=options)
    started = sandbox.call("StartSandbox", sandbox_id=task.id)
    assert started.created_at.seconds > 0
    pid: int = started.pid
    return pid


def namespace(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def test_a_sandbox_lives_from_create_to_shutdown(task: RunningShim) -> None:
    sandbox = sandbox_of(task)
    pid = start(task, config())
    status = sandbox.call("SandboxStatus", sandbox_id=task.id)
    assert (status.sandbox_id, status.pid, status.state) == (task.id, pid, "SANDBOX_READY")
    assert sandbox.call("Platform", sandbox_id=task.id).platform.os == "linux"
    sandbox.call("PingSandbox", sandbox_id=task.id)
    waiting = sandbox.begin("WaitSandbox", sandbox_id=task.id)
    sandbox.call("StopSandbox", sandbox_id=task.id)
    assert sandbox.collect("WaitSandbox", waiting).exited_at.seconds > 0
    assert sandbox.call("SandboxStatus", sandbox_id=task.id).state == "SANDBOX_NOTREADY"
    sandbox.call("StopSandbox", sandbox_id=task.id)


def test_a_pods_namespaces_are_those_that_were_asked_for(task: RunningShim) -> None:
    pid = start(task, config(pod_sandbox.NODE))
    assert namespace(pid, "ipc") != namespace("self", "ipc")
    assert namespace(pid, "uts") != namespace("self", "uts")
    assert namespace(pid, "pid") == namespace("self", "pid")


def test_the_pod_process_has_nothing_to_give_to_containers(task: RunningShim) -> None:
    pid = start(task, config())
    assert os.listdir(f"/proc/{pid}/root/") == []
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0000000000000000"}
    assert status["NoNewPrivs"] == "1"
    assert len(os.listdir(f"/proc/{pid}/fd")) == 0


def test_a_container_joins_the_pod(task: RunningShim, folder: Path) -> None:
    pid = start(task, config())
    joined = {"ipc": "ipc", "uts": "uts", "pid": "pid"}
    for entry in task.bundle.linux["namespaces"]:
        if entry["type"] in joined:
            entry["path"] = f"/proc/{pid}/ns/{joined[entry['type']]}"
    del task.bundle.config["hostname"]
    task.bundle.write()
    reader = reader_of_new_fifo(folder / "out")
    init = task.run(stdout=str(folder / "out"))
    assert os.read(reader, 100) == b"pod-name\n"
    os.close(reader)
    assert {namespace(init, kind) for kind in joined} == {namespace(pid, kind) for kind in joined}
    task.call("Kill", signal=9)
    assert task.call("Wait").exit_status == 137
    task.call("Delete")
    task.call("Shutdown")
    assert sandbox_of(task).call("SandboxStatus", sandbox_id=task.id).state == "SANDBOX_READY"


def test_sysctls_reach_the_pods_namespaces_only(task: RunningShim) -> None:
    with open("/proc/sys/kernel/shmmax", encoding="ascii") as file:
        before = file.read()
    start(task, config())
    with open("/proc/sys/kernel/shmmax", encoding="ascii") as file:
        assert file.read() == before


def test_a_sysctl_of_the_host_is_refused(task: RunningShim) -> None:
    pod = pod_sandbox.PodSandboxConfig(linux=pod_sandbox.LinuxPodSandboxConfig(sysctls={"kernel.panic": "1"}))
    options = Any(type_url="runtime.v1.PodSandboxConfig", value=pod.encode())
    with pytest.raises(CallError, match=r"kernel\.panic"):
        start(task, options)


def test_unknown_and_second_sandboxes_are_refused(task: RunningShim) -> None:
    sandbox = sandbox_of(task)
    with pytest.raises(CallError) as unknown:
        sandbox.call("StartSandbox", sandbox_id="nobody")
    assert unknown.value.code == codes.NOT_FOUND
    start(task, config())
    with pytest.raises(CallError) as second:
        start(task, config())
    assert second.value.code == codes.ALREADY_EXISTS


def test_a_mount_that_hangs_holds_only_the_start_of_its_sandbox(task: RunningShim, folder: Path) -> None:
    sandbox = sandbox_of(task)
    with HungMount(folder / "hung"):
        sandbox.call("CreateSandbox", sandbox_id=task.id, bundle_path=f"{folder}/hung/bundle")
        starting = sandbox.begin("StartSandbox", sandbox_id=task.id)
        assert sandbox.call("SandboxStatus", sandbox_id=task.id).state == "SANDBOX_NOTREADY"
        sandbox.call("PingSandbox", sandbox_id=task.id)
        with pytest.raises(CallError, match="started already"):
            sandbox.call("StartSandbox", sandbox_id=task.id)
        assert not task.peer.has_answer(starting)
        sandbox.call("StopSandbox", sandbox_id=task.id)
        with pytest.raises(CallError, match="stopped before it was started"):
            sandbox.collect("StartSandbox", starting)
        with pytest.raises(CallError, match="was stopped"):
            sandbox.call("StartSandbox", sandbox_id=task.id)


def test_a_sandbox_that_cannot_be_started_can_be_tried_again(task: RunningShim, folder: Path) -> None:
    sandbox = sandbox_of(task)
    bundle = folder / "later"
    sandbox.call("CreateSandbox", sandbox_id=task.id, bundle_path=str(bundle))
    with pytest.raises(CallError, match="No such file"):
        sandbox.call("StartSandbox", sandbox_id=task.id)
    bundle.mkdir()
    assert sandbox.call("StartSandbox", sandbox_id=task.id).pid > 0
