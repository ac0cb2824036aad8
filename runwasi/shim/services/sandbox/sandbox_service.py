"""Implements the Sandbox service of containerd 2: the shim keeps the pod itself, without a pause image.

containerd asks for it when a runtime's `sandboxer` is "shim"; with the default it creates a pause container
by the Task service instead. Source: containerd docs/sandbox, core/sandbox/controller.go; observed on 2.3.4.
"""

from __future__ import annotations

import os

from runwasi.executor.child.system_settings import sysctl_path
from runwasi.executor.errors import AlreadyExists, NotFound, WrongStatus, describe
from runwasi.linux import processes
from runwasi.linux.fd import Fd, owner_of
from runwasi.oci.decode import decode
from runwasi.oci.linux import Linux
from runwasi.shim.server.events import now
from runwasi.shim.services.sandbox.pod_process import PodNamespaces, start
from runwasi.wire.messages import pod_sandbox
from runwasi.wire.messages import sandbox as api
from runwasi.wire.messages.types import Metric, Platform
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runwasi.linux.waiting import Operation
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.call import Call
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.server.ttrpc_server import Handler
    from runwasi.wire.codec import Message
    from runwasi.wire.messages.well_known import Any as AnyMessage

NAME = "containerd.runtime.sandbox.v1.Sandbox"

_READY, _NOT_READY = "SANDBOX_READY", "SANDBOX_NOTREADY"
_ARCHITECTURES = {"x86_64": ("amd64", ""), "aarch64": ("arm64", "v8"), "armv7l": ("arm", "v7")}
_SIGKILL = 9


class SandboxService:
    """One sandbox; shutdown ends the server."""

    def __init__(self, reactor: Reactor, shutdown: Callable[[], None]) -> None:
        self._reactor = reactor
        self._shutdown = shutdown
        self._sandbox: Sandbox | None = None

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Take over the sandbox of the program that we replace."""
        self._sandbox = Sandbox.taken_over(self._reactor, state)

    def state(self, keep: Keep) -> dict[str, Any] | None:
        """Return the state from which another program continues."""
        return self._sandbox.state(keep) if self._sandbox else None

    @property
    def busy(self) -> bool:
        """Return whether there is a sandbox that has not been stopped."""
        return self._sandbox is not None and not self._sandbox.stopped

    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods by name."""
        return {
            "CreateSandbox": self._create,
            "StartSandbox": self._start,
            "Platform": self._platform,
            "StopSandbox": self._stop,
            "WaitSandbox": self._wait,
            "SandboxStatus": self._status,
            "PingSandbox": self._ping,
            "ShutdownSandbox": self._shut_down,
            "SandboxMetrics": self._metrics,
        }

    def _create(self, request: api.CreateSandboxRequest, _call: Call) -> Message:
        if self._sandbox is not None:
            raise AlreadyExists(f"sandbox {self._sandbox.id}")
        self._sandbox = Sandbox(self._reactor, request)
        return api.CreateSandboxResponse()

    def _start(self, request: api.StartSandboxRequest, call: Call) -> Operation[Message]:
        sandbox = self._find(request.sandbox_id)
        yield from sandbox.start(call)
        return api.StartSandboxResponse(pid=sandbox.pid, created_at=sandbox.created_at)

    def _platform(self, request: api.PlatformRequest, _call: Call) -> Message:
        self._find(request.sandbox_id)
        machine = os.uname().machine
        architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
        platform = Platform(os="linux", architecture=architecture, variant=variant)
        return api.PlatformResponse(platform=platform)

    def _stop(self, request: api.StopSandboxRequest, _call: Call) -> Message:
        self._find(request.sandbox_id).stop()
        return api.StopSandboxResponse()

    def _wait(self, request: api.WaitSandboxRequest, call: Call) -> Message | None:
        return self._find(request.sandbox_id).wait(call)

    def _status(self, request: api.SandboxStatusRequest, _call: Call) -> Message:
        sandbox = self._find(request.sandbox_id)
        return api.SandboxStatusResponse(
            sandbox_id=sandbox.id,
            pid=sandbox.pid,
            state=_READY if sandbox.running else _NOT_READY,
            created_at=sandbox.created_at,
            exited_at=sandbox.exited_at,
        )

    def _ping(self, request: api.PingRequest, _call: Call) -> Message:
        self._find(request.sandbox_id)
        return api.PingResponse()

    def _shut_down(self, request: api.ShutdownSandboxRequest, _call: Call) -> Message:
        if self._sandbox is not None and self._sandbox.id == request.sandbox_id:
            self._sandbox.stop()
        self._shutdown()
        return api.ShutdownSandboxResponse()

    def _metrics(self, request: api.SandboxMetricsRequest, _call: Call) -> Message:
        sandbox = self._find(request.sandbox_id)
        data = sandbox.usage()
        return api.SandboxMetricsResponse(metrics=Metric(timestamp=now(), id=sandbox.id, data=data))

    def _find(self, sandbox_id: str) -> Sandbox:
        if self._sandbox is None or self._sandbox.id != sandbox_id:
            raise NotFound(f"sandbox {sandbox_id}")
        return self._sandbox


class Sandbox:
    """A pod's namespaces, and the process that holds them."""

    def __init__(self, reactor: Reactor, request: api.CreateSandboxRequest) -> None:
        self._reactor = reactor
        self._request = request
        self._bundle = request.bundle_path
        self._config = _pod_config(request.options)
        self._namespaces = _namespaces(self._config, request.netns_path)
        self._pidfd: Fd | None = None
        self._starting: Call | None = None
        self._waiters: list[Call] = []
        self.id = request.sandbox_id
        self.pid = 0
        self.stopped = False
        self.exit_status = 0
        self.created_at: Timestamp | None = None
        self.exited_at: Timestamp | None = None

    @classmethod
    def taken_over(cls, reactor: Reactor, state: Mapping[str, Any]) -> Sandbox:
        """Restore a sandbox of the program that we replace."""
        sandbox = cls(reactor, api.CreateSandboxRequest.decode(bytes.fromhex(state["request"])))
        sandbox.pid, sandbox.stopped, sandbox.exit_status = (
            state["pid"],
            state["stopped"],
            state["exit_status"],
        )
        sandbox.created_at, sandbox.exited_at = (
            Timestamp.decode(bytes.fromhex(text)) if text else None for text in state["times"]
        )
        sandbox._pidfd = owner_of(state["pidfd"])
        if sandbox._pidfd is not None:
            reactor.watch(sandbox._pidfd.fileno(), sandbox._ended)
        return sandbox

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return the state from which another program continues."""
        times = (self.created_at, self.exited_at)
        return {
            "request": self._request.encode().hex(),
            "pid": self.pid,
            "pidfd": keep(self._pidfd),
            "stopped": self.stopped,
            "exit_status": self.exit_status,
            "times": [time.encode().hex() if time is not None else "" for time in times],
        }

    @property
    def running(self) -> bool:
        """Return whether its process runs."""
        return self._pidfd is not None

    def start(self, call: Call) -> Operation[None]:
        """Make the namespaces, for a call that stop gives up. Raises WrongStatus, OSError."""
        if self.pid or self._starting:
            raise WrongStatus(f"sandbox {self.id} was started already")
        if self.stopped:
            raise WrongStatus(f"sandbox {self.id} was stopped")
        self._starting = call
        try:
            child = yield from start(self._namespaces, self._bundle)
        finally:
            self._starting = None
        self.pid, self._pidfd = child.pid, Fd(child.pidfd)
        self.created_at = now()
        self._reactor.watch(child.pidfd, self._ended)

    def stop(self) -> None:
        """End its process; if it has a pid namespace, all of the pod's processes end with it."""
        if self._starting is not None:
            self._starting.cancel(WrongStatus(f"sandbox {self.id} was stopped before it was started"))
        if self._pidfd is not None:
            processes.pidfd_send_signal(self._pidfd.fileno(), _SIGKILL)
            self._ended(0)
        self._over()

    def wait(self, call: Call) -> api.WaitSandboxResponse | None:
        """Return how it ended, or hold the call until it has ended."""
        if self.stopped:
            return self._end()
        self._waiters = [waiter for waiter in self._waiters if not waiter.done]
        self._waiters.append(call)
        return None

    def usage(self) -> AnyMessage | None:
        """Return the usage of the pod's cgroup, if containerd gave it one."""
        from runwasi.executor.usage.cgroup_usage import read_usage  # late: few ask
        from runwasi.linux import cgroups
        from runwasi.shim.services.tasks.stats import metrics

        parent = self._config.linux.cgroup_parent if self._config.linux else ""
        if not parent:
            return None
        try:
            return metrics(read_usage(cgroups.cgroup_at(parent)))
        except OSError as error:
            raise NotFound(f"cgroup {parent}: {describe(error)}") from None

    def _ended(self, _events: int) -> None:
        if self._pidfd is None:
            return
        with self._pidfd as pidfd:
            self._reactor.unwatch(pidfd.fileno())
            self.exit_status = processes.reap(pidfd.fileno())
        self._pidfd = None
        self._over()

    def _over(self) -> None:
        if self.stopped:
            return
        self.stopped = True
        self.exited_at = now()
        for call in self._waiters:
            call.reply(self._end())
        self._waiters.clear()

    def _end(self) -> api.WaitSandboxResponse:
        return api.WaitSandboxResponse(exit_status=self.exit_status, exited_at=self.exited_at)


def _pod_config(options: AnyMessage | None) -> pod_sandbox.PodSandboxConfig:
    """Return CRI's description of the pod; other clients may send none, or another type."""
    if options is None or options.type_url.rpartition("/")[2] != "runtime.v1.PodSandboxConfig":
        return pod_sandbox.PodSandboxConfig()
    return pod_sandbox.PodSandboxConfig.decode(options.value)


def _namespaces(config: pod_sandbox.PodSandboxConfig, network: str) -> PodNamespaces:
    """Decide which namespaces the pod has. Raises SpecError for a sysctl that would change the host's."""
    linux = config.linux or pod_sandbox.LinuxPodSandboxConfig()
    security = linux.security_context or pod_sandbox.LinuxSandboxSecurityContext()
    modes = security.namespace_options or pod_sandbox.NamespaceOption()
    kinds = [kind for kind in ("ipc", "pid") if getattr(modes, kind) == pod_sandbox.POD]
    if network or modes.network == pod_sandbox.POD:
        kinds.append("uts")  # a pod in the host's network also has the host's name
    known = [{"type": kind} for kind in kinds] + ([{"type": "network", "path": network}] if network else [])
    checked = decode(Linux, {"namespaces": known, "sysctl": dict(linux.sysctls)}, "linux")
    sysctls = {sysctl_path(name): value for name, value in checked.sysctl.items()}
    return PodNamespaces(tuple(kinds), network, config.hostname, sysctls)
