"""Serves pods in the daemon itself, on its reactor: shared mode.

A pod has its own socket, services, connection for events and log; only the process is shared. The daemon takes
everything that a process has only once, such as the environment and the limits that containers inherit, from the
caller of its first pod; a pod whose caller differs gets its own server.
"""

from __future__ import annotations

import os

from runwasi.linux import processes
from runwasi.linux.processless import procfs_to_copy
from runwasi.linux.rlimits import OpenFiles
from runwasi.shim import bootstrap, pod_socket
from runwasi.shim.bootstrap import Bootstrap
from runwasi.shim.flags import Flags
from runwasi.shim.server.log import Log, open_log
from runwasi.shim.server.pod_server import PodServer, exporter_of
from runwasi.shim.services.calls.fetch_layers import Images
from runwasi.shim.services.rootfs.mounters import Mounters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runwasi.engines.engine import Engine
    from runwasi.linux.fd import Fd
    from runwasi.shim.daemon.callers import Inheritance
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.traces.span_exporter import SpanExporter

_OF_ONE_CALL = ("TTRPC_ADDRESS", "GRPC_ADDRESS", "NAMESPACE", "MAX_SHIM_VERSION", "TRACECONTEXT")
"""Variables that containerd sets for each start: a pod has its own, and nothing else reads them."""


class PodsNotTakenOver(Exception):
    """These pods of the program that we replace could not be taken over."""

    def __init__(self, pods: list[Mapping[str, Any]]) -> None:
        super().__init__(f"{len(pods)} pods")
        self.pods = pods


class Pods:
    """The pods by their sockets."""

    def __init__(self, reactor: Reactor, engine: Engine, own: Inheritance, log: Log) -> None:
        self._open_files = OpenFiles()
        processes.call_in_children(self._open_files.restore)
        self._open_files.raise_limit()
        self._reactor = reactor
        self._engine = engine
        self._images = Images(reactor, engine)
        self._mounters = Mounters(reactor)
        self._guest_procfs = procfs_to_copy()
        self._own = own
        self._log = log
        self._exporter: SpanExporter | None = None
        self._pods: dict[str, PodServer] = {}
        self._known: dict[str, tuple[Flags, Mapping[str, str]]] = {}
        self._environment: Mapping[str, str] = {}
        self._deserted: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._pods)

    def serve(
        self, flags: Flags, asked: Bootstrap, inherited: Inheritance, environment: Mapping[str, str]
    ) -> bytes | None:
        """Serve the pod of a completed `start`, and return the output; None if it needs its own server.

        Raises OSError, BlockingIOError if it is not our turn.
        """
        location, listener = bootstrap.location(flags), None
        if flags.socket not in self._pods:
            environment = self._shared(environment)
            if flags.shim_cgroup or not self._suits(inherited, environment):
                return None
            listener = pod_socket.listen_or_find(flags.socket, wait=False)
        try:
            bootstrap.write_address_file(flags.bundle, location)
            if listener is not None:
                self._add(flags, listener, environment, open_log(f"{flags.bundle}/log"))
        except OSError:
            if listener is not None:
                os.close(listener)
            bootstrap.take_back(flags, listener)
            raise
        return asked.answer(location)

    def abandon(self, socket: str, container_id: str) -> None:
        """Forget a container that was deleted behind its pod's back, as after containerd took it for lost."""
        pod = self._pods.get(socket)
        if pod is not None:
            pod.abandon(container_id)

    def hold_back(self, held: bool) -> None:
        """Pause all pods, or resume them. Raises OSError, if that fails for some, after the others."""
        failure: OSError | None = None
        for pod in self._pods.values():
            try:
                pod.hold_back(held)
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure
        if self._exporter is not None:
            self._exporter.send_at_once(held)

    def quiet(self) -> bool:
        """Return whether nothing is under way that another program could not go on with."""
        return all(pod.quiet() for pod in self._pods.values())

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return the state for another program.

        It keeps our limit of open files, because it has as many open files as we have.
        """
        environments: list[Mapping[str, str]] = []
        pods = []
        for socket, pod in self._pods.items():
            flags, environment = self._known[socket]
            if environment not in environments:
                environments.append(environment)
            number = environments.index(environment)
            kept: list[int] = []
            state = pod.state(_noting(keep, kept))
            pods.append({"flags": flags.arguments(), "environment": number, "fds": kept, **state})
        return {
            "pods": pods,
            "environments": environments,
            "oom_score": self._own.oom_score,
            "limits": self._own.limits.decode(),
            "open_files": self._open_files.soft,
        }

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Take over the pods of the program that we replace, but send nothing yet. Raises PodsNotTakenOver."""
        self._own.oom_score = state["oom_score"]
        if "open_files" in state:  # an earlier version restored the limit
            self._own.limits = state["limits"].encode()
            self._open_files.was_raised(state["open_files"])
        failed = []
        for pod in state["pods"]:
            flags = Flags.parse(pod["flags"])
            try:
                self._adopt(state["environments"][pod["environment"]])
                self._add(
                    flags, pod["server"]["listener"], self._environment, open_log(f"{flags.bundle}/log")
                )
                self._pods[flags.socket].take_over(pod)
            except Exception as error:  # noqa: BLE001  whatever it is, it may go well the next time
                self._log.warning("cannot take over a pod", pod=flags.group, reason=repr(error))
                failed.append(pod)
        if failed:
            raise PodsNotTakenOver(failed)

    def go_on(self) -> None:
        """Go on with the pods that were taken over."""
        for socket, pod in list(self._pods.items()):
            try:
                pod.go_on()
            except Exception as error:  # noqa: BLE001  the other pods need the daemon
                self._log.fault(f"pod {self._known[socket][0].group}", error)
                pod.drop()

    def when_deserted(self, done: Callable[[], None]) -> None:
        """Call done once no pod is left."""
        self._deserted = done
        self._look_for_pods()

    def _add(self, flags: Flags, listener: int, environment: Mapping[str, str], log_fd: int) -> None:
        log = Log(log_fd, debug=flags.debug, instance=flags.id, pod=flags.group)

        def ended() -> None:
            del self._pods[flags.socket], self._known[flags.socket]
            log.close()
            self._look_for_pods()

        self._known[flags.socket] = flags, environment
        self._pods[flags.socket] = PodServer(
            self._reactor,
            flags,
            self._engine,
            self._images,
            listener,
            log,
            environment,
            ended,
            self._exporter,
            self._guest_procfs,
            self._mounters,
        )

    def _shared(self, environment: Mapping[str, str]) -> Mapping[str, str]:
        """Return the environment, as another pod's object if it is equal."""
        return self._environment if environment == self._environment else environment

    def _suits(self, inherited: Inheritance, environment: Mapping[str, str]) -> bool:
        if not self._pods:
            self._mounters.end_free()  # they have what the last pods' caller had
            self._open_files.restore()
            inherited.adopt(self._own)
            self._open_files.raise_limit()
            self._adopt(environment)
            os.environ.clear()
            os.environ.update(_lasting(environment))
            return True
        return inherited.same_as(self._own) and _lasting(environment) == _lasting(self._environment)

    def _adopt(self, environment: Mapping[str, str]) -> None:
        """Serve pods in this environment from now on, and send their spans where it says."""
        if _lasting(environment) != _lasting(self._environment):
            if self._exporter is not None:
                self._exporter.close()
            self._exporter = exporter_of(self._reactor, self._log, environment)
        self._environment = environment

    def _look_for_pods(self) -> None:
        if self._deserted and not self._pods:
            if self._exporter is not None:
                self._exporter.close()
            deserted, self._deserted = self._deserted, None
            deserted()


def _noting(keep: Keep, kept: list[int]) -> Keep:
    """Return a keep that also adds the numbers of the descriptors to a list."""

    def keep_and_note(fd: Fd | None) -> int | None:
        number = keep(fd)
        if number is not None:
            kept.append(number)
        return number

    return keep_and_note


def _lasting(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in _OF_ONE_CALL}
