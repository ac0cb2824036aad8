"""The pod's server: one process, one thread, one reactor, from the launcher's exec to Shutdown."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself takes 3 ms to import, for its enumerations
import gc
import os
import sys

from runwasi.linux import processes
from runwasi.shim.flags import Flags
from runwasi.shim.server.events import Publisher
from runwasi.shim.server.log import Log
from runwasi.shim.server.orphans import Orphans
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.server.spawn import LISTENER
from runwasi.shim.server.ttrpc_server import Server
from runwasi.shim.services import task_service
from runwasi.shim.services.create_call import Pod
from runwasi.shim.services.task_service import TaskService
from runwasi.startup import packs
from runwasi.wire.messages.task import TASK_METHODS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runwasi.engines.engine import Engine
    from runwasi.shim.server.ttrpc_server import Methods
    from runwasi.shim.services.task_service import Handler

_LOG = 2  # the launcher put the bundle's log there
_DRAIN = 5.0  # seconds that the last events may take
_FAREWELL = 3.0  # seconds; as long as containerd waits for the answer to Shutdown
_MAX_OOM_SCORE = 1000
_REST_DELAY = 0.5  # seconds; the 4 ms that setting a title takes are not the first container's


def main(engine: str | Engine) -> None:
    """Serve what the launcher's arguments say, on its descriptors."""
    serve(Flags.parse(sys.argv[1:]), engine, LISTENER, _LOG)


def serve(flags: Flags, engine: str | Engine, listener: int, log_fd: int) -> None:
    """Serve a pod on a listening socket until it is shut down."""
    os.set_inheritable(listener, False)
    os.chdir(flags.bundle)
    log = Log(log_fd, debug=flags.debug, instance=flags.id, pod=flags.group)
    processes.set_name(f"shim:{flags.group}")
    processes.set_child_subreaper()
    _expect_oom_kill_before_containerd(log)
    reactor = Reactor(on_error=lambda error: log.fault("server", error))
    publisher = Publisher(reactor, flags.ttrpc_address, flags.namespace, log)
    server = Server(reactor, listener, log.fault)
    if _tracing_is_wanted():
        from runwasi.shim.server.tracing import Tracer  # late: only where traces are configured

        server.tracer = Tracer(reactor, log, f"containerd-shim-{flags.id}", flags.group)

    def begin_to_end() -> None:
        if server.listening:
            # The name first: without it another start of this pod makes a new server, and its name is its own.
            _remove_socket(flags.socket, log)
            server.stop_listening()
            tasks.refuse_new()

    def shutdown() -> None:
        begin_to_end()
        publisher.drain(_DRAIN, lambda: server.when_deserted(_FAREWELL, reactor.stop))

    def terminate() -> None:
        begin_to_end()
        publisher.drain(_DRAIN, reactor.stop)

    name = engine if isinstance(engine, str) else engine.name
    pod = Pod(reactor, log, engine, name, flags.namespace, flags.address)
    tasks = TaskService(pod, publisher, log, shutdown)
    for service in task_service.NAMES:
        server.register(service, TASK_METHODS, tasks.handlers())
    server.register_late("containerd.runtime.sandbox.v1.Sandbox", lambda: _sandbox(reactor, tasks, shutdown))
    Orphans(reactor, {_signal.SIGTERM: terminate, _signal.SIGINT: terminate})
    gc.freeze()  # children share these pages until somebody writes to them; a collection would
    gc.enable()
    reactor.call_later(_REST_DELAY, lambda: _come_to_rest(_title(name, flags)))
    log.debug("serving", address=flags.socket)
    reactor.run()
    server.close()
    publisher.close()
    if server.tracer:
        server.tracer.close()


def _tracing_is_wanted() -> bool:
    environ = os.environ
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return bool(
        environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    )


def _come_to_rest(title: str) -> None:
    """Do what the first container should not wait for."""
    processes.set_title(title)
    packs.forget()


def _title(engine: str, flags: Flags) -> str:
    """Return what ps shows: a shim by its name and arguments, as one looks for it."""
    from runwasi.engines.registry import shim_name  # late: nothing before the title needs it

    return f"{shim_name(engine)} -namespace {flags.namespace} -id {flags.group} -address {flags.address}"


def _sandbox(
    reactor: Reactor, tasks: TaskService, shutdown: Callable[[], None]
) -> tuple[Methods, Mapping[str, Handler]]:
    """Make the Sandbox service for the first call of it."""
    from runwasi.shim.services.sandbox_service import SandboxService
    from runwasi.wire.messages.sandbox import (
        SANDBOX_METHODS,  # late: containerd 2 only, and only if configured
    )

    sandboxes = SandboxService(reactor, shutdown)
    tasks.kept_by(lambda: sandboxes.busy)
    return SANDBOX_METHODS, sandboxes.handlers()


def _expect_oom_kill_before_containerd(log: Log) -> None:
    """Be one point likelier to be killed for memory than containerd, whose value we inherited."""
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
