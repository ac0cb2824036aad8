"""Implements the Task service, versions 2 and 3: translates containerd's calls for the executor.

Source: containerd core/runtime/v2/README.md; observed on containerd-shim-runc-v2 (docs/task-api.md compares).
"""

from __future__ import annotations

from time import monotonic

from runwasi.executor.errors import AlreadyExists, Invalid
from runwasi.executor.telemetry import metric_events
from runwasi.oci.decode import decode, parse_json
from runwasi.oci.process import Process as ProcessSpec
from runwasi.oci.record import replaced
from runwasi.shim.server import codes
from runwasi.shim.server.codes import RpcError
from runwasi.shim.services.calls.create_call import Creating
from runwasi.shim.services.calls.delete_call import Removals, Unmade
from runwasi.shim.services.calls.start_call import Starting, check_start
from runwasi.shim.services.tasks.task import Task
from runwasi.shim.services.tasks.task_changes import TaskChanges
from runwasi.shim.services.tasks.task_process import TaskProcess, require
from runwasi.shim.services.tasks.task_queries import TaskQueries
from runwasi.shim.services.tasks.task_table import TaskTable
from runwasi.shim.streams.process_streams import StreamPaths
from runwasi.wire.messages import events
from runwasi.wire.messages import task as api
from runwasi.wire.messages.well_known import Empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from runwasi.executor.lifecycle.container import Container
    from runwasi.linux.waiting import Operation
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.call import Call
    from runwasi.shim.server.events import Publisher
    from runwasi.shim.server.log import Log
    from runwasi.shim.server.ttrpc_server import Handler
    from runwasi.shim.services.calls.create_call import Pod
    from runwasi.wire.codec import Message

NAMES = ("containerd.task.v2.Task", "containerd.task.v3.Task")
"""Both versions have the same messages."""

_OK = Empty()


class TaskService:
    """The tasks of a pod; calls shutdown once containerd asks for that and no task is left."""

    def __init__(self, pod: Pod, publisher: Publisher, log: Log, shutdown: Callable[[], None]) -> None:
        self._pod = pod
        self._publisher = publisher
        self._publish = publisher.publish
        self._log = log
        self._shutdown = shutdown
        self._tasks = TaskTable()
        self._changes = TaskChanges(self._tasks, publisher.publish)
        self._queries = TaskQueries(self._tasks, publisher)
        self._removals = Removals(pod.reactor, publisher.publish, log, pod.mounters, self._removed)
        self._kept: Callable[[], bool] = lambda: False
        self._ending = False

    @property
    def busy(self) -> bool:
        """Return whether there are tasks, or some are being created."""
        return bool(self._tasks) or self._kept()

    def kept_by(self, kept: Callable[[], bool]) -> None:
        """Also keep the server while kept() is true: a sandbox may have no task."""
        self._kept = kept

    def refuse_new(self) -> None:
        """Stop creating tasks: the server is about to end."""
        self._ending = True

    def quiet(self) -> bool:
        """Return whether nothing is under way that another program could not go on with."""
        waits = any(task.restoration for task in self._tasks.by_id.values())
        return not (self._tasks.creating or waits or self._pod.reactor.operations)

    def take_over(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take over the tasks of the program that we replace."""
        for state in states:
            task = Task.taken_over(
                self._pod.reactor, state, self._publish, self._log.warning, self._pod.environment
            )
            self._tasks.by_id[task.id] = task
            if self._pod.tracer:
                from runwasi.shim.services.calls import call_spans  # late: only where traces are configured

                call_spans.take_over(self._pod.tracer, task, state)

    def state(self, keep: Keep) -> list[dict[str, Any]]:
        """Return the state from which another program continues."""
        return [task.state(keep) for task in self._tasks.by_id.values()]

    def abandon(self, task_id: str) -> None:
        """Forget a task that another process is deleting, once it has ended; the server ends with the last."""
        task = self._tasks.by_id.get(task_id)
        if task is not None:
            task.when_over(lambda: self._abandoned(task))
        elif not self.busy:
            self._shutdown()

    def close(self) -> None:
        """Forget all tasks, and close what is open for them; their processes go on."""
        for task in self._tasks.by_id.values():
            task.forget()
        self._tasks.by_id.clear()

    def _abandoned(self, task: Task) -> None:
        task.close()
        self._tasks.by_id.pop(task.id, None)
        if not self.busy:
            self._shutdown()

    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods by name."""
        return {
            "Create": self._create,
            "Start": self._start,
            "Delete": self._delete,
            "Exec": self._exec,
            "Shutdown": self._shut_down,
            **self._changes.handlers(),
            **self._queries.handlers(),
        }

    # a task's beginning and end

    def _create(self, request: api.CreateTaskRequest, call: Call) -> Operation[Message]:
        if request.id in self._tasks.by_id or request.id in self._tasks.creating:
            raise AlreadyExists(f"container {request.id}")
        if self._ending:
            raise RpcError(codes.UNAVAILABLE, "the shim is shutting down")
        unmade = self._tasks.creating[request.id] = Unmade(request.id, call)
        began = monotonic()
        try:
            creating = Creating(self._pod, request, timed=bool(call.span))
            container = yield from self._traced(call, creating)
        except Exception as error:
            metric_events.report("failed", "create", getattr(error, "step", "") or "-")
            unmade.is_gone()
            raise
        finally:
            del self._tasks.creating[request.id]
        metric_events.report("create", container.kind, round(monotonic() - began, 6))
        self._created(creating, request, container)
        return api.CreateTaskResponse(pid=container.pid)

    def _traced(self, call: Call, creating: Creating) -> Operation[Container]:
        try:
            return (yield from creating.run())
        finally:
            if call.span:
                from runwasi.shim.services.calls import call_spans  # late: only where traces are configured

                call_spans.created(self._pod.reactor, call.span, creating.timing)
            elif creating.timing is not None:
                creating.timing.close()

    def _created(self, creating: Creating, request: api.CreateTaskRequest, container: Container) -> None:
        init = TaskProcess("", creating.paths)
        init.streams = creating.streams
        self._publish(
            events.TaskCreate(
                container_id=request.id,
                bundle=request.bundle,
                rootfs=request.rootfs,
                io=events.TaskIO(
                    stdin=request.stdin,
                    stdout=request.stdout,
                    stderr=request.stderr,
                    terminal=request.terminal,
                ),
                checkpoint=request.checkpoint,
                pid=container.pid,
            )
        )
        self._tasks.by_id[request.id] = Task(
            self._pod.reactor,
            container,
            init,
            self._publish,
            mounted=bool(request.rootfs),
            restoration=creating.restoration,
        )

    def _delete(self, request: api.DeleteRequest, call: Call) -> Message | None:
        if request.id in self._tasks.creating and not request.exec_id:
            self._tasks.creating[request.id].delete(call)
            return None
        task = self._tasks.task(request.id)
        process = self._tasks.process(task, request.exec_id)
        if process is task.init:
            self._removals.remove(task, call)
            return None
        if process.starting:
            process.deletes.append(call)
            process.give_up_start(f"exec {process.exec_id} is deleted")
            return None
        return self._removals.remove_exec(task, process)

    def _removed(self, task: Task) -> None:
        del self._tasks.by_id[task.id]

    # starting

    def _start(self, request: api.StartRequest, call: Call) -> Operation[Message]:
        task = self._tasks.task(request.id)
        process = self._tasks.process(task, request.exec_id)
        check_start(task, process)
        process.starting = call
        began = monotonic()
        try:
            yield from Starting(self._pod, self._publish, task, process).run(call)
            if call.span:
                from runwasi.shim.services.calls import call_spans  # late: only where traces are configured

                call_spans.started(self._pod.reactor, call.span, task, process)
            if process is task.init:
                metric_events.report("start", task.container.kind, round(monotonic() - began, 6))
        except Exception as error:
            metric_events.report("failed", "start", getattr(error, "step", "") or "-")
            raise
        finally:
            task.start_over(process)
            deletes, process.deletes = process.deletes, []
            for delete_call in deletes:
                delete_call.reply(self._removals.remove_exec(task, process))
        return api.StartResponse(pid=process.pid)

    def _exec(self, request: api.ExecProcessRequest, _call: Call) -> Message:
        task = self._tasks.task(request.id)
        task.require_process("exec")
        if not request.exec_id:
            raise Invalid("exec id cannot be empty")
        if request.exec_id in task.execs:
            raise AlreadyExists(f"id {request.exec_id}")
        require("exec", task.init.state)
        if request.spec is None:
            raise Invalid("exec without a process")
        spec = decode(ProcessSpec, parse_json(request.spec.value))
        spec = replaced(spec, terminal=request.terminal)
        paths = StreamPaths(request.stdin, request.stdout, request.stderr, request.terminal)
        task.execs[request.exec_id] = TaskProcess(request.exec_id, paths, spec)
        self._publish(events.TaskExecAdded(container_id=task.id, exec_id=request.exec_id))
        return _OK

    def _shut_down(self, _request: api.ShutdownRequest, _call: Call) -> Message:
        if not self.busy:
            self._shutdown()
        return _OK
