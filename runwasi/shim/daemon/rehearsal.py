"""Rehearses: the node daemon runs containers before the first pod is requested.

A pod's server shares the daemon's memory until it writes to it, and even running Python writes: the interpreter
rewrites code that runs often for the types it sees, fills caches, imports late, makes the free lists its own. All
pods share what has already happened in the daemon. So the daemon plays the server of a pod, and its own client and
containerd too, for wasm containers that do nothing. docs/decisions/0016-a-rehearsal.md has the numbers.
"""

from __future__ import annotations

import os

# A container's own process imports this late, after its fork, so no rehearsal would load it here.
from runwasi.executor.child import run_wasm  # noqa: F401
from runwasi.executor.lifecycle.deletion import delete_forced
from runwasi.executor.lifecycle.store import container_ids
from runwasi.linux.waiting import finish
from runwasi.shim import pod_socket
from runwasi.shim.server.events import Publisher, pack
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.server.ttrpc_client import TtrpcClient
from runwasi.shim.server.ttrpc_server import TtrpcServer
from runwasi.shim.services.calls.create_call import Pod
from runwasi.shim.services.calls.fetch_layers import Images
from runwasi.shim.services.tasks import task_service
from runwasi.shim.services.tasks.task_service import TaskService
from runwasi.wire.messages.event_forward import EVENTS_METHODS
from runwasi.wire.messages.options import Options
from runwasi.wire.messages.task import (
    TASK_METHODS,
    ConnectRequest,
    CreateTaskRequest,
    DeleteRequest,
    PidsRequest,
    ShutdownRequest,
    StartRequest,
    StateRequest,
    StatsRequest,
    WaitRequest,
)
from runwasi.wire.messages.well_known import Empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runwasi.engines.engine import Engine
    from runwasi.shim.server.log import Log
    from runwasi.wire.codec import Message

_TIMES = 8  # CPython 3.11 begins to specialise a function when it has run so often
_SECONDS = 5.0  # that one answer may take
_NAMESPACE, _STATE = "rehearsal", "state"
_EVENTS = "containerd.services.events.ttrpc.v1.Events"

_MODULE = bytes.fromhex(
    "0061736d 01000000"  # a core module:
    "0104 01 600000"  # a type, of functions without parameters and results
    "0302 01 00"  # a function of it
    "0503 01 0000"  # a memory of no pages
    "0713 02 065f7374617274 0000 066d656d6f7279 0200"  # exports "_start" and "memory"
    "0a04 01 02 00 0b"  # the function does nothing
)
_CONFIG = """\
{
  "ociVersion": "1.0.2",
  "process": {
    "user": {"uid": 0, "gid": 0, "additionalGids": [0]},
    "args": ["/module.wasm"], "env": ["PATH=/bin"], "cwd": "/", "noNewPrivileges": true,
    "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]
  },
  "root": {"path": "rootfs"},
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
  ],
  "linux": {
    "resources": {"devices": [{"allow": false, "access": "rwm"}]},
    "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}],
    "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"],
    "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}
  }
}
"""


def rehearse(engine: Engine, folder: str, log: Log) -> bool:
    """Run the lives of some containers in a temporary folder; return whether all went well.

    It takes a fifth of a second. Errors are logged only: pods do not need it, but it may leave descriptors open then.
    """
    went_well = False
    try:
        _clear(folder)  # left by a killed daemon
        bundle = _make_bundle(folder)
        went_well = _Rehearsal(engine, bundle, log).run()
    except Exception as error:  # noqa: BLE001  nothing depends on it
        log.fault("rehearsal", error)
    try:
        _clear(folder)
    except Exception as error:  # noqa: BLE001  the next one does
        log.fault("rehearsal", error)
    return went_well


class _Rehearsal:
    """A pod's server and its client on one reactor: each answer is followed by the next call."""

    def __init__(self, engine: Engine, bundle: str, log: Log) -> None:
        self._bundle = bundle
        self._log = log
        self._went_well = True
        self._reactor = Reactor(on_error=self._failed)
        path = f"{bundle}/socket"
        listener = pod_socket.listen_or_find(path)
        assert listener is not None  # nobody else has a folder of that name
        self._server = TtrpcServer(self._reactor, listener, lambda _, error: self._failed(error))
        self._publisher = Publisher(self._reactor, path, _NAMESPACE, log)
        pod = Pod(self._reactor, log, engine, engine.name, _NAMESPACE, "", {}, Images(self._reactor, engine))
        self._tasks = TaskService(pod, self._publisher, log, lambda: None)
        self._server.register(task_service.NAMES[0], TASK_METHODS, self._tasks.handlers())
        self._server.register(_EVENTS, EVENTS_METHODS, {"Forward": lambda _request, _call: Empty()})
        self._client = TtrpcClient(self._reactor, path)
        self._calls = self._script()

    def run(self) -> bool:
        """Run to the end, or to the first failing call; return whether it came to the end."""
        try:
            self._next(None)
            self._reactor.run()
        finally:
            self._tasks.close()
            self._client.close()
            self._publisher.close()
            self._server.close()
            self._reactor.close()
        return self._went_well

    def _script(self) -> Iterator[tuple[str, Message]]:
        container = f"{_NAMESPACE}-{os.getpid()}"
        options = pack(Options(root=f"{self._bundle}/{_STATE}"))
        for _ in range(_TIMES):
            yield "Connect", ConnectRequest(id=container)
            yield "Create", CreateTaskRequest(id=container, bundle=self._bundle, options=options)
            yield "State", StateRequest(id=container)
            yield "Start", StartRequest(id=container)
            yield "Stats", StatsRequest(id=container)
            yield "Wait", WaitRequest(id=container)
            yield "Pids", PidsRequest(id=container)
            yield "Delete", DeleteRequest(id=container)
        yield "Shutdown", ShutdownRequest(id=container)

    def _next(self, error: Exception | None) -> None:
        call = next(self._calls, None)
        if error is not None:
            self._failed(error)
        elif call is None:
            self._publisher.drain(_SECONDS, self._reactor.stop)
        else:
            self._client.call(task_service.NAMES[0], *call, {}, _SECONDS, self._next)

    def _failed(self, error: Exception) -> None:
        self._went_well = False
        self._log.debug("the rehearsal ended early", error=str(error))
        self._reactor.stop()


def _make_bundle(folder: str) -> str:
    os.makedirs(f"{folder}/rootfs", 0o700)
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        file.write(_CONFIG)
    with open(f"{folder}/rootfs/module.wasm", "wb") as file:
        file.write(_MODULE)
    return folder


def _clear(folder: str) -> None:
    """Remove a folder with its content, and containers left there; shutil would cost the pods 1 MiB."""
    root = f"{folder}/{_STATE}/{_NAMESPACE}"
    for container in container_ids(root):
        finish(delete_forced(root, container))
    for path, folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink(f"{path}/{name}")
        for name in folders:
            os.rmdir(f"{path}/{name}")
    if os.path.isdir(folder):
        os.rmdir(folder)
