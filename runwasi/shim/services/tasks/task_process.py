"""Represents a process of a task, init or exec: its state, its streams, and the calls that wait for it."""

from __future__ import annotations

from runwasi.executor.errors import WrongStatus
from runwasi.linux.fd import owner_of
from runwasi.oci.decode import decode, parse_json
from runwasi.oci.encode import dumps
from runwasi.oci.process import Process as ProcessSpec
from runwasi.shim.server import codes
from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.events import now
from runwasi.shim.streams.process_streams import StreamPaths, Streams
from runwasi.wire.messages.task import WaitResponse
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    from runwasi.executor.parent.execution import Execution
    from runwasi.linux.fd import Fd
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.call import Call
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.traces.tracing import Span

    State = Literal["created", "running", "paused", "stopped"]

ALLOWED: dict[str, tuple[State, ...]] = {
    "start": ("created",),
    "delete": ("created", "stopped"),
    "pause": ("running",),
    "resume": ("paused",),
    "update": ("created", "running", "paused"),
    "checkpoint": ("running", "paused"),
    "exec": ("created", "running"),
}
"""Operation -> the states it may be asked in; containerd's runc shim has the same."""

_PLAIN = ("state", "failed", "pid", "exit_status")
"""Members of a process that are handed over as they are."""


def require(operation: str, state: State) -> None:
    """Raise WrongStatus unless the operation is allowed in the state."""
    if state not in ALLOWED[operation]:
        raise WrongStatus(f"cannot {operation} a {state} process")


class TaskProcess:
    """An init or an exec: the request, the pid, the exit, and the calls that wait for the exit."""

    def __init__(self, exec_id: str, paths: StreamPaths, spec: ProcessSpec | None = None) -> None:
        self.exec_id = exec_id
        self.paths = paths
        self.spec = spec
        self.streams: Streams | None = None
        self.state: State = "created"
        self.starting: Call | None = None
        """The Start call under way."""
        self.deletes: list[Call] = []
        """The Delete calls that wait for that start to be given up."""
        self.execution: Execution | None = None
        """The operation that makes the process of an exec that is being started."""
        self.failed = False
        """It was started and could not be: nothing is left to wait for, but the state stays created."""
        self.pid = 0
        self.pidfd: Fd | None = None
        self.exit_status = 0
        self.exited_at: Timestamp | None = None
        self.span: Span | None = None
        """The time that it runs, if traces are on."""
        self._waiters: list[Call] = []

    @classmethod
    def taken_over(
        cls, reactor: Reactor, state: Mapping[str, Any], environment: Mapping[str, str]
    ) -> TaskProcess:
        """Restore a process of the program that we replace."""
        spec = decode(ProcessSpec, parse_json(state["spec"].encode())) if state["spec"] else None
        process = cls(state["exec_id"], StreamPaths(*state["paths"]), spec)
        for name in _PLAIN:
            setattr(process, name, state[name])
        process.pidfd = owner_of(state["pidfd"])
        if state["exited_at"]:
            process.exited_at = Timestamp.decode(bytes.fromhex(state["exited_at"]))
        if state["streams"] is not None:
            process.streams = Streams.taken_over(reactor, process.paths, state["streams"], environment)
        return process

    def state_kept(self, keep: Keep) -> dict[str, Any]:
        """Return the state from which another program continues."""
        paths = self.paths
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "exec_id": self.exec_id,
            "pidfd": keep(self.pidfd),
            "paths": [paths.stdin, paths.stdout, paths.stderr, paths.terminal],
            "spec": dumps(self.spec) if self.spec is not None else "",
            "exited_at": self.exited_at.encode().hex() if self.exited_at is not None else "",
            "streams": self.streams.state(keep) if self.streams else None,
            "span": self.span.state() if self.span else None,
        }

    def wait(self, call: Call) -> WaitResponse | None:
        """Return how the process ended, or hold the call until it has ended."""
        if self.state == "stopped" or self.failed:
            return self._end()
        self._waiters = [waiter for waiter in self._waiters if not waiter.done]
        self._waiters.append(call)
        return None

    def ended(self, status: int) -> None:
        """Record the exit, close the outputs for their readers, and answer the waiting calls."""
        self.state = "stopped"
        self.exit_status = status
        self.exited_at = now()
        if self.span is not None:
            self.span.exited(status)
            self.span = None
        self._over()

    def could_not_start(self) -> None:
        """Answer the waiting calls: there will be no process."""
        self.failed = True
        self._over()

    def give_up_start(self, why: str) -> None:
        """Cancel a Start in progress, if any, and its half-started process."""
        if self.starting:
            self.starting.cancel(RpcError(codes.FAILED_PRECONDITION, why))

    def close(self) -> None:
        """Close the streams."""
        if self.streams:
            self.streams.close()

    def _over(self) -> None:
        if self.streams:
            self.streams.process_ended()
        waiters, self._waiters = self._waiters, []
        for call in waiters:
            call.reply(self._end())

    def _end(self) -> WaitResponse:
        return WaitResponse(exit_status=self.exit_status, exited_at=self.exited_at)
