"""Pods and their containers as kubelet drives them, on each release of containerd."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from devtools.cri import Container, Cri, Pod, api
from devtools.waiting import until
from tests.integration.conftest import BUSYBOX_IMAGE, DEMO_IMAGE
from tests.support.memory import memory_limit

FOREVER = ("sh", "-c", "trap 'exit 0' TERM; echo ready; while true; do sleep 1000 & wait; done")
STUBBORN = ("sh", "-c", "trap '' TERM; echo ready; while true; do sleep 1000 & wait; done")


def test_a_pod_is_ready_and_has_an_address(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        status = pod.status()
        assert status.state == api.SANDBOX_READY
        assert status.network.ip.startswith("10.99.")


def test_a_container_runs_and_its_log_and_status_tell_of_it(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        container = pod.run(BUSYBOX_IMAGE, ["sh", "-c", "echo one; echo two; exit 3"])
        assert container.wait() == 3
        assert container.log_lines(2) == ["one", "two"]
        assert container.status().reason == "Error"


def test_wasm_and_native_share_a_pod(cri: Cri) -> None:
    with cri.pod("runwasi") as pod:
        wasm = pod.run(DEMO_IMAGE, [], ["echo", "from", "wasm"])
        native = pod.run(BUSYBOX_IMAGE, ["hostname"])
        assert wasm.wait() == native.wait() == 0
        assert wasm.log_lines(1)[0] == "from wasm"
        assert native.log_lines(1) == [pod.config.hostname]


def test_containers_of_a_pod_share_its_network_but_not_their_processes(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        first = pod.run(BUSYBOX_IMAGE, FOREVER)
        second = pod.run(BUSYBOX_IMAGE, FOREVER)
        assert _namespace(first, "net") == _namespace(second, "net")
        assert _namespace(first, "ipc") == _namespace(second, "ipc")
        assert _namespace(first, "pid") != _namespace(second, "pid")


def test_containers_share_processes_when_the_pod_says_so(cri: Cri, handler: str) -> None:
    shared = api.NamespaceOption(pid=api.POD)
    security = api.LinuxSandboxSecurityContext(namespace_options=shared)
    inside = api.LinuxContainerSecurityContext(namespace_options=shared)
    with cri.pod(handler, security=security) as pod:
        container = pod.run(BUSYBOX_IMAGE, FOREVER, security=inside)
        assert b"/pause" in container.exec("cat", "/proc/1/cmdline").stdout


def _namespace(container: Container, kind: str) -> str:
    return os.readlink(f"/proc/{container.pid()}/ns/{kind}")


def test_exec_sync_gives_output_and_status(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        container = pod.run(BUSYBOX_IMAGE, FOREVER)
        answer = container.exec("sh", "-c", "echo out; echo err >&2; exit 5")
        assert (answer.stdout, answer.stderr, answer.exit_code) == (b"out\n", b"err\n", 5)


def test_exec_sync_is_ended_at_its_timeout(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        container = pod.run(BUSYBOX_IMAGE, FOREVER)
        with pytest.raises(grpc.RpcError) as failure:
            container.exec("sleep", "1000", timeout=1)
        assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        processes = container.exec("ps", "-o", "args").stdout.splitlines()
        assert processes.count(b"sleep 1000") == 1  # that of FOREVER


def test_exec_talks_over_its_streams(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        container = pod.run(BUSYBOX_IMAGE, FOREVER)
        with container.exec_stream("sh", "-c", "read line; echo got $line; exit 9") as stream:
            stream.send(b"hello\n")
            assert stream.read_until(b"\n") == b"got hello\n"
            assert stream.status()["details"]["causes"] == [{"reason": "ExitCode", "message": "9"}]


def test_exec_has_a_terminal_when_asked(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        container = pod.run(BUSYBOX_IMAGE, FOREVER)
        with container.exec_stream("sh", "-c", "tty", tty=True) as stream:
            assert stream.read_until(b"\n") == b"/dev/pts/0\r\n"


def test_attach_reaches_init(cri: Cri, handler: str) -> None:
    # containerd takes the input before it lets the output through, and may lose the last of it when init ends.
    program = "while usleep 20000; do echo waiting; done & read line; kill $!; echo got $line; read line"
    with cri.pod(handler) as pod:
        container = pod.run(BUSYBOX_IMAGE, ["sh", "-c", program], stdin=True)
        with container.attach() as stream:
            stream.read_until(b"waiting\n")
            stream.send(b"hello\n")
            stream.read_until(b"got hello\n")
            stream.send(b"end\n")
        assert container.wait() == 0


def test_a_port_of_the_pod_is_forwarded(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        server = pod.run(BUSYBOX_IMAGE, ["nc", "-ll", "-p", "8000", "-e", "cat"])
        until(lambda: server.exec("netstat", "-ltn").stdout, lambda listening: b":8000 " in listening)
        with pod.forward(8000) as stream:
            stream.send(b"there and back", channel=0)
            assert b"there and back" in stream.read_until(b"back", channel=0)


def test_a_graceful_stop_ends_with_the_programs_status(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        container = pod.run(BUSYBOX_IMAGE, FOREVER)
        container.log_lines(1)  # ready
        started = time.monotonic()
        container.stop(grace=30)
        assert time.monotonic() - started < 10
        assert container.status().exit_code == 0


def test_a_stubborn_program_is_killed_after_the_grace_period(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        container = pod.run(BUSYBOX_IMAGE, STUBBORN)
        container.log_lines(1)  # ready
        container.stop(grace=1)
        assert container.status().exit_code == 137


def test_wasm_stops_on_sigterm_without_waiting_for_the_grace_period(cri: Cri) -> None:
    with cri.pod("runwasi") as pod:
        container = pod.run(DEMO_IMAGE, [], ["sleep", "1000"])
        started = time.monotonic()
        container.stop(grace=30)
        assert time.monotonic() - started < 10
        assert container.status().exit_code == 143


def test_a_container_that_ended_is_removed_and_another_takes_its_place(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        for _ in range(3):
            container = pod.run(BUSYBOX_IMAGE, ["true"])
            assert container.wait() == 0
            container.remove()
        assert pod.run(BUSYBOX_IMAGE, FOREVER).status().state == api.CONTAINER_RUNNING


def test_a_program_that_is_not_there_fails_the_start_with_its_name(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        container = pod.create(BUSYBOX_IMAGE, ["/bin/absent"])
        with pytest.raises(grpc.RpcError, match="/bin/absent"):
            container.start()
        assert container.status().state == api.CONTAINER_EXITED


def test_statistics_count_the_containers(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        container = pod.run(BUSYBOX_IMAGE, ["sh", "-c", "while true; do :; done"])
        stats = until(container.stats, lambda stats: stats.cpu.usage_core_nano_seconds.value > 0)
        assert stats.attributes.id == container.id
        assert stats.memory.usage_bytes.value > 0
        assert until(pod.stats, lambda stats: len(stats.containers) == 1).memory.usage_bytes.value > 0


def test_limits_are_set_and_changed(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        limits = api.LinuxContainerResources(memory_limit_in_bytes=64 << 20, cpu_shares=512)
        container = pod.run(BUSYBOX_IMAGE, FOREVER, resources=limits)
        assert memory_limit(container.pid()) == 64 << 20
        container.update(memory_limit_in_bytes=96 << 20)
        assert memory_limit(container.pid()) == 96 << 20


def test_the_security_context_is_kept(cri: Cri, handler: str) -> None:
    security = api.LinuxContainerSecurityContext(
        run_as_user=api.Int64Value(value=1000),
        run_as_group=api.Int64Value(value=1000),
        supplemental_groups=[2000, 3000],
        readonly_rootfs=True,
        no_new_privs=True,
        capabilities=api.Capability(drop_capabilities=["ALL"], add_capabilities=["NET_BIND_SERVICE"]),
        seccomp=api.SecurityProfile(profile_type=api.SecurityProfile.RuntimeDefault),
    )
    with cri.pod(handler) as pod:
        container = pod.run(
            BUSYBOX_IMAGE, ["sh", "-c", "id -u; id -g; id -G; touch /x 2>&1"], security=security
        )
        container.wait()
        user, group, groups, *rest = container.log_lines(4)
        assert (user, group, set(groups.split())) == ("1000", "1000", {"1000", "2000", "3000"})
        assert "Read-only file system" in rest[0]
        status = pod.run(
            BUSYBOX_IMAGE,
            ["grep", "-E", "CapBnd|NoNewPrivs|Seccomp:", "/proc/self/status"],
            security=security,
        )
        status.wait()
        fields = dict(line.split(":\t") for line in status.log_lines(3))
        assert fields == {"CapBnd": f"{1 << 10:016x}", "NoNewPrivs": "1", "Seccomp": "2"}


def test_a_privileged_container_has_every_capability_and_the_hosts_devices(cri: Cri, handler: str) -> None:
    privileged = api.LinuxSandboxSecurityContext(privileged=True)
    inside = api.LinuxContainerSecurityContext(privileged=True)
    with cri.pod(handler, security=privileged) as pod:
        container = pod.run(BUSYBOX_IMAGE, FOREVER, security=inside)
        ours = _capabilities(Path("/proc/self/status").read_text())
        assert _capabilities(container.exec("cat", "/proc/self/status").stdout.decode()) == ours
        assert container.exec("test", "-e", "/dev/loop-control").exit_code == int(
            not Path("/dev/loop-control").exists()
        )


def _capabilities(status: str) -> str:
    return next(line for line in status.splitlines() if line.startswith("CapEff"))


def test_a_hosts_folder_is_mounted(cri: Cri, handler: str, folder: Path) -> None:
    (folder / "file").write_text("content\n")
    mounts = [api.Mount(container_path="/data", host_path=str(folder), readonly=True)]
    with cri.pod(handler) as pod:
        container = pod.run(BUSYBOX_IMAGE, ["sh", "-c", "cat /data/file; touch /data/x 2>&1"], mounts=mounts)
        container.wait()
        assert container.log_lines(2) == ["content", "touch: /data/x: Read-only file system"]


def test_a_pod_on_the_hosts_network_has_no_network_of_its_own(cri: Cri, handler: str) -> None:
    host = api.LinuxSandboxSecurityContext(
        namespace_options=api.NamespaceOption(network=api.NODE, pid=api.CONTAINER)
    )
    inside = api.LinuxContainerSecurityContext(
        namespace_options=api.NamespaceOption(network=api.NODE, pid=api.CONTAINER)
    )
    with cri.pod(handler, security=host) as pod:
        container = pod.run(BUSYBOX_IMAGE, FOREVER, security=inside)
        assert _namespace(container, "net") == os.readlink("/proc/self/ns/net")


def test_logs_go_on_in_a_new_file_when_they_are_rotated(cri: Cri, handler: str) -> None:
    with cri.pod(handler) as pod:
        container = pod.run(
            BUSYBOX_IMAGE, ["sh", "-c", "i=0; while true; do i=$((i+1)); echo $i; usleep 20000; done"]
        )
        first = container.log_lines(1)
        container.log_file().rename(container.log_file().with_suffix(".old"))
        cri.runtime.ReopenContainerLog(api.ReopenContainerLogRequest(container_id=container.id))
        assert int(container.log_lines(1)[0]) > int(first[0])


def test_fifty_pods_run_at_once(cri: Cri) -> None:
    pods: list[Pod] = []
    try:
        with ThreadPoolExecutor(10) as pool:
            pods += pool.map(lambda _: cri.run_pod("runwasi"), range(50))
            containers = list(pool.map(lambda pod: pod.run(BUSYBOX_IMAGE, FOREVER), pods))
        assert all(container.status().state == api.CONTAINER_RUNNING for container in containers)
    finally:
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(Pod.remove, pods))
