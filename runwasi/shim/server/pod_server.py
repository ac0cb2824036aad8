"""Runs the pod's server: one process, one thread, one reactor, from the launcher's exec to Shutdown."""

from __future__ import annotations

import gc
import os
import select
import sys

from runwasi.linux import inotify, processes
from runwasi.shim.flags import Flags
from runwasi.shim.server.events import Publisher
from runwasi.shim.server.log import Log
from runwasi.shim.server.orphans import Orphans
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.server.spawn import LISTENER
from runwasi.shim.server.ttrpc_server import TtrpcServer
from runwasi.shim.services.calls.create_call import Pod
from runwasi.shim.services.calls.fetch_layers import Images
from runwasi.shim.services.tasks import task_service
from runwasi.shim.services.tasks.task_service import TaskService
from runwasi.startup import installation, packs, thin_signal
from runwasi.wire.messages.task import TASK_METHODS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runwasi.engines.engine import Engine
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.ttrpc_server import Handler, Methods
    from runwasi.shim.services.rootfs.mounters import Mounters
    from runwasi.shim.services.sandbox.sandbox_service import SandboxService
    from runwasi.shim.traces.span_exporter import SpanExporter

SANDBOX = "containerd.runtime.sandbox.v1.Sandbox"

_LOG = 2  # the launcher put the bundle's log there
_DRAIN = 5.0  # seconds that the last events may take
_FAREWELL = 3.0  # seconds; as long as containerd waits for the answer to Shutdown
_DELETE_SECONDS = 10.0
_MAX_OOM_SCORE = 1000
_START_UP_DELAY = 0.5  # seconds; the 4 ms that setting a title takes are not the first container's


def main(engine: str | Engine) -> None:
    """Serve the pod in the launcher's arguments, on its descriptors."""
    serve(Flags.parse(sys.argv[1:]), engine, LISTENER, _LOG)


def serve(flags: Flags, engine: str | Engine, listener: int, log_fd: int) -> None:
    """Serve a pod on a listening socket in this process until it is shut down."""
    os.set_inheritable(listener, False)
    os.chdir(flags.bundle)
    log = Log(log_fd, debug=flags.debug, instance=flags.id, pod=flags.group)
    processes.set_name(f"shim:{flags.group}")
    processes.set_child_subreaper()
    _expect_oom_kill_before_containerd(log)
    reactor = Reactor(on_error=lambda error: log.fault("server", error))
    images = Images(reactor, engine)
    exporter = exporter_of(reactor, log, os.environ)
    pod = PodServer(reactor, flags, engine, images, listener, log, os.environ, reactor.stop, exporter)
    Orphans(reactor, {thin_signal.SIGTERM: pod.terminate, thin_signal.SIGINT: pod.terminate})
    gc.freeze()  # children share these pages until somebody writes to them; a collection would
    gc.enable()
    reactor.call_later(_START_UP_DELAY, lambda: _finish_start_up(pod, _title(pod.engine_name, flags)))
    log.debug("serving", address=flags.socket)
    reactor.run()
    if exporter is not None:
        exporter.close()
    installation.leave(wait_for_delete=lambda: _wait_for_delete(flags.bundle))


def _wait_for_delete(bundle: str) -> None:
    """Wait until containerd has removed a bundle, after its `delete`, or until it is too late for that."""
    try:
        gone = inotify.watch(bundle, inotify.IN_DELETE_SELF)
    except OSError:
        return  # it is gone
    select.select([gone], [], [], _DELETE_SECONDS)


class PodServer:
    """Serves one pod, on a reactor that others may share; calls ended at its end."""

    def __init__(
        self,
        reactor: Reactor,
        flags: Flags,
        engine: str | Engine,
        images: Images,
        listener: int,
        log: Log,
        environment: Mapping[str, str],
        ended: Callable[[], None],
        exporter: SpanExporter | None = None,
        guest_procfs: int | None = None,
        mounters: Mounters | None = None,
    ) -> None:
        self.engine_name = engine if isinstance(engine, str) else engine.name
        self._reactor = reactor
        self._socket = flags.socket
        self._log = log
        self._ended = ended
        self._sandboxes: SandboxService | None = None
        self._publisher = Publisher(reactor, flags.ttrpc_address, flags.namespace, log)
        self._server = TtrpcServer(reactor, listener, log.fault)
        pod = Pod(reactor, log, engine, self.engine_name, flags.namespace, flags.address, environment, images)
        pod.guest_procfs = guest_procfs
        pod.mounters = mounters
        if exporter is not None:
            from runwasi.engines.registry import shim_name
            from runwasi.shim.traces.tracing import Tracer  # late: only where traces are configured

            name = shim_name(self.engine_name)
            pod.tracer = self._server.tracer = Tracer(exporter, name, flags.group, environment)
        self._pod = pod
        self._tasks = TaskService(pod, self._publisher, log, self.shut_down)
        for service in task_service.NAMES:
            self._server.register(service, TASK_METHODS, self._tasks.handlers())
        self._server.register_late(SANDBOX, self._sandbox)

    def expect_modules(self) -> None:
        """Make the objects that a pod's modules share, if their code is loaded."""
        if not isinstance(self._pod.engine, str):
            from runwasi.linux.processless import procfs_to_copy  # late: it is there, or is not needed

            self._pod.guest_procfs = procfs_to_copy()

    def hold_back(self, held: bool) -> None:
        """Pause new work, or resume; work in progress goes on."""
        if not self._server.listening:
            return
        self._server.hold_back(held)
        if held:
            self._publisher.hold()
        else:
            self._publisher.send_on()

    def quiet(self) -> bool:
        """Return whether nothing is under way that another program could not go on with."""
        return self._server.quiet() and self._tasks.quiet() and self._publisher.quiet()

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return the state from which taken_over restores it in another program."""
        return {
            "server": self._server.state(keep),
            "events": self._publisher.state(),
            "tasks": self._tasks.state(keep),
            "sandbox": self._sandboxes.state(keep) if self._sandboxes else None,
        }

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Take over the pod of the program that we replace. Raises ContainerError, OSError."""
        if state["sandbox"] is not None:
            self._server.register(SANDBOX, *self._sandbox())
            assert self._sandboxes is not None
            self._sandboxes.take_over(state["sandbox"])
        self._tasks.take_over(state["tasks"])
        self._publisher.take_over(state["events"])
        self._server.take_over(state["server"]["connections"])

    def go_on(self) -> None:
        """Go on with the connections of the pod that was taken over."""
        self._server.go_on()

    def drop(self) -> None:
        """Close everything: containerd takes the pod for lost, and cleans up after it."""
        self._tasks.close()
        self._finish()

    def shut_down(self) -> None:
        """End once every event has been sent and every client has gone."""
        self._begin_to_end()
        self._publisher.drain(_DRAIN, lambda: self._server.when_deserted(_FAREWELL, self._finish))

    def terminate(self) -> None:
        """End once every event has been sent; containers go on running."""
        self._begin_to_end()
        self._publisher.drain(_DRAIN, self._finish)

    def abandon(self, task_id: str) -> None:
        """Forget a task that a `delete` has removed without us, and end if it was the last."""
        self._tasks.abandon(task_id)

    def _begin_to_end(self) -> None:
        if self._server.listening:
            self.hold_back(False)  # no other program goes on with a pod that ends
            # Remove the name first: then another start of this pod makes a new server with its own socket.
            _remove_socket(self._socket, self._log)
            self._server.stop_listening()
            self._tasks.refuse_new()

    def _finish(self) -> None:
        self._server.close()
        self._publisher.close()
        self._ended()

    def _sandbox(self) -> tuple[Methods, Mapping[str, Handler]]:
        """Make the Sandbox service at its first call."""
        # late: containerd 2 only, and only if configured
        from runwasi.shim.services.sandbox.sandbox_service import SandboxService
        from runwasi.wire.messages.sandbox import SANDBOX_METHODS

        sandboxes = self._sandboxes = SandboxService(self._reactor, self.shut_down)
        self._tasks.kept_by(lambda: sandboxes.busy)
        return SANDBOX_METHODS, sandboxes.handlers()


def exporter_of(reactor: Reactor, log: Log, environment: Mapping[str, str]) -> SpanExporter | None:
    """Return the exporter of a server's spans, None unless the environment asks for traces."""
    if not any(name.startswith("OTEL_EXPORTER_OTLP_") for name in environment):
        return None
    from runwasi.shim.traces import otlp_endpoint  # late: only where traces are configured

    if not otlp_endpoint.is_wanted(environment):
        return None
    from runwasi.shim.traces.span_exporter import SpanExporter

    return SpanExporter(reactor, log, environment)


def _finish_start_up(pod: PodServer, title: str) -> None:
    """Do the work that the first container should not wait for."""
    processes.set_title(title)
    pod.expect_modules()
    packs.forget()


def _title(engine: str, flags: Flags) -> str:
    """Return the title for ps: the shim's name and arguments, as people look for it."""
    from runwasi.engines.registry import shim_name  # late: nothing before the title needs it

    return f"{shim_name(engine)} -namespace {flags.namespace} -id {flags.group} -address {flags.address}"


def _expect_oom_kill_before_containerd(log: Log) -> None:
    """Become one point likelier to be OOM-killed than containerd, whose score we inherited."""
    try:
        with open("/proc/self/oom_score_adj", "r+b", 0) as file:
            score = min(int(file.read()) + 1, _MAX_OOM_SCORE)
            file.write(str(score).encode())
    except OSError as error:
        log.warning("cannot adjust the oom score", error=str(error))


def _remove_socket(path: str, log: Log) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        log.debug("the socket is gone already", path=path)
