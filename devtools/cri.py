"""Calls a containerd as kubelet does: pods and containers through the container runtime interface."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import grpc
import websocket

from devtools.containerd import Containerd
from devtools.folders import remove_cgroup
from devtools.places import ROOT
from devtools.waiting import until

_PROTO = "devtools/cri.proto"
_SECONDS = 60

# Generated from runtime.proto as the tests start, so their members are known only then.
api: Any
_services: Any
api, _services = grpc.protos_and_services(_PROTO)


class Cri:
    """The two services of one containerd, and a pod's usual configuration."""

    def __init__(self, containerd: Containerd, *, cgroup_parent: str, logs: Path) -> None:
        self.containerd = containerd
        self._channel = grpc.insecure_channel(f"unix://{containerd.address}")
        self.runtime = _services.RuntimeServiceStub(self._channel)
        self.images = _services.ImageServiceStub(self._channel)
        self._cgroup_parent = cgroup_parent
        self._logs = logs
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def wait_for_image(self, name: str) -> None:
        """Return when CRI has noticed an image that was imported behind its back."""
        request = api.ImageStatusRequest(image=api.ImageSpec(image=name))
        until(lambda: self.images.ImageStatus(request).image.id, bool)

    @contextlib.contextmanager
    def pod(self, handler: str, *, security: Any = None, **members: Any) -> Iterator[Pod]:
        """A pod that runs; stopped and removed with all its containers in the end."""
        pod = self.run_pod(handler, security=security, **members)
        try:
            yield pod
        finally:
            pod.remove()

    def run_pod(self, handler: str, *, security: Any = None, **members: Any) -> Pod:
        """Run a pod and leave it to the caller to remove it."""
        security = _with_own_processes(security or api.LinuxSandboxSecurityContext())
        on_host = security.namespace_options.network == api.NODE
        number = next(self._numbers)
        logs = self._logs / f"pod{number}"
        logs.mkdir()
        config = api.PodSandboxConfig(
            metadata=api.PodSandboxMetadata(name=f"pod{number}", uid=f"uid{number}", namespace="default"),
            hostname="" if on_host else f"pod{number}",
            log_directory=str(logs),
            linux=api.LinuxPodSandboxConfig(
                cgroup_parent=f"{self._cgroup_parent}/pod{number}", security_context=security
            ),
            **members,
        )
        request = api.RunPodSandboxRequest(config=config, runtime_handler=handler)
        return Pod(self, self.runtime.RunPodSandbox(request, timeout=_SECONDS).pod_sandbox_id, config)


class Pod:
    """One pod sandbox."""

    def __init__(self, cri: Cri, identity: str, config: Any) -> None:
        self.cri = cri
        self.id = identity
        self.config = config
        self._numbers = itertools.count(1)

    def create(
        self,
        image: str,
        command: Sequence[str] = (),
        arguments: Sequence[str] = (),
        *,
        security: Any = None,
        resources: Any = None,
        **members: Any,
    ) -> Container:
        """Create a container, not yet started."""
        name = f"container{next(self._numbers)}"
        security = _with_own_processes(security or api.LinuxContainerSecurityContext())
        config = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name),
            image=api.ImageSpec(image=image),
            command=command,
            args=arguments,
            log_path=f"{name}.log",
            linux=api.LinuxContainerConfig(security_context=security, resources=resources),
            **members,
        )
        request = api.CreateContainerRequest(
            pod_sandbox_id=self.id, config=config, sandbox_config=self.config
        )
        identity = self.cri.runtime.CreateContainer(request, timeout=_SECONDS).container_id
        return Container(self.cri, identity, Path(self.config.log_directory) / f"{name}.log")

    def run(
        self, image: str, command: Sequence[str] = (), arguments: Sequence[str] = (), **more: Any
    ) -> Container:
        """Create a container and start it."""
        container = self.create(image, command, arguments, **more)
        container.start()
        return container

    def status(self) -> Any:
        """The pod's status."""
        return self.cri.runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=self.id)).status

    def stats(self) -> Any:
        """The pod's statistics."""
        request = api.PodSandboxStatsRequest(pod_sandbox_id=self.id)
        return self.cri.runtime.PodSandboxStats(request).stats.linux

    def stop(self) -> None:
        """Stop the pod and everything in it."""
        self.cri.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=self.id), timeout=_SECONDS)

    def remove(self) -> None:
        """Stop and remove the pod and everything in it."""
        self.stop()
        self.cri.runtime.RemovePodSandbox(
            api.RemovePodSandboxRequest(pod_sandbox_id=self.id), timeout=_SECONDS
        )
        remove_cgroup(self.config.linux.cgroup_parent)  # kubelet makes and removes it

    def forward(self, port: int) -> Stream:
        """A connection to a port of the pod."""
        request = api.PortForwardRequest(pod_sandbox_id=self.id, port=[port])
        return Stream(f"{self.cri.runtime.PortForward(request).url}?port={port}")


class Container:
    """One container of a pod."""

    def __init__(self, cri: Cri, identity: str, log: Path) -> None:
        self.cri = cri
        self.id = identity
        self._log = log

    def start(self) -> None:
        """Start a created container."""
        self.cri.runtime.StartContainer(api.StartContainerRequest(container_id=self.id), timeout=_SECONDS)

    def status(self) -> Any:
        """The container's status."""
        return self.cri.runtime.ContainerStatus(api.ContainerStatusRequest(container_id=self.id)).status

    def pid(self) -> int:
        """The pid of the container's init on this machine."""
        request = api.ContainerStatusRequest(container_id=self.id, verbose=True)
        pid: int = json.loads(self.cri.runtime.ContainerStatus(request).info["info"])["pid"]
        return pid

    def wait(self) -> int:
        """Wait until it has ended, as kubelet does, by asking; returns its exit status."""
        return until(self.status, lambda status: status.state == api.CONTAINER_EXITED).exit_code  # type: ignore[no-any-return]

    def log_lines(self, count: int = 1) -> list[str]:
        """The log's lines without their prefix, once there are as many as that."""
        lines = until(self._lines, lambda lines: len(lines) >= count)
        return [line.split(" ", 3)[3] for line in lines]

    def log_file(self) -> Path:
        """Return the path of its log."""
        return self._log

    def _lines(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def exec(self, *command: str, timeout: int = 0) -> Any:
        """Run a command in the container to its end; the answer has stdout, stderr and exit_code."""
        request = api.ExecSyncRequest(container_id=self.id, cmd=command, timeout=timeout)
        return self.cri.runtime.ExecSync(request, timeout=_SECONDS)

    def exec_stream(self, *command: str, tty: bool = False) -> Stream:
        """Run a command with its streams open."""
        request = api.ExecRequest(
            container_id=self.id, cmd=command, stdin=True, stdout=True, stderr=not tty, tty=tty
        )
        return Stream(self.cri.runtime.Exec(request).url)

    def attach(self) -> Stream:
        """The streams of the container's init."""
        request = api.AttachRequest(container_id=self.id, stdin=True, stdout=True, stderr=True)
        return Stream(self.cri.runtime.Attach(request).url)

    def stats(self) -> Any:
        """The container's statistics."""
        return self.cri.runtime.ContainerStats(api.ContainerStatsRequest(container_id=self.id)).stats

    def update(self, **resources: int) -> None:
        """Change the container's limits."""
        limits = api.LinuxContainerResources(**resources)
        self.cri.runtime.UpdateContainerResources(
            api.UpdateContainerResourcesRequest(container_id=self.id, linux=limits)
        )

    def stop(self, grace: int) -> None:
        """Stop it: SIGTERM, and SIGKILL after the grace period in seconds."""
        request = api.StopContainerRequest(container_id=self.id, timeout=grace)
        self.cri.runtime.StopContainer(request, timeout=_SECONDS)

    def remove(self) -> None:
        """Remove it; it is stopped if it still runs."""
        self.cri.runtime.RemoveContainer(api.RemoveContainerRequest(container_id=self.id), timeout=_SECONDS)


def _with_own_processes(security: Any) -> Any:
    """Kubelet's default, where nothing is said about namespaces; that of the interface is to share the pod's."""
    if not security.HasField("namespace_options"):
        security.namespace_options.pid = api.CONTAINER
    return security


class Stream:
    """The streams of an exec, an attach or a forwarded port, over a websocket: a first byte tells which."""

    STDIN, STDOUT, STDERR, STATUS = range(4)

    def __init__(self, url: str) -> None:
        address = url.replace("http://", "ws://", 1)
        self._socket = websocket.create_connection(
            address, subprotocols=["v4.channel.k8s.io"], timeout=_SECONDS
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def send(self, data: bytes, channel: int = STDIN) -> None:
        """Write to a channel."""
        self._socket.send_binary(bytes([channel]) + data)

    def read_until(self, wanted: bytes, channel: int = STDOUT) -> bytes:
        """Return what a channel brings until the wanted bytes have come."""
        got = b""
        while wanted not in got:
            frame = self._socket.recv()
            assert isinstance(frame, bytes)
            if frame and frame[0] == channel:
                got += frame[1:]
            elif frame and frame[0] == self.STATUS:
                raise AssertionError(f"ended with {frame[1:]!r} after {got!r}")
        return got

    def status(self) -> dict[str, Any]:
        """Read to the end and return the status that an exec ends with."""
        while True:
            frame = self._socket.recv()
            assert isinstance(frame, bytes)
            if frame and frame[0] == self.STATUS:
                status: dict[str, Any] = json.loads(frame[1:])
                return status


assert (ROOT / _PROTO).is_file()
