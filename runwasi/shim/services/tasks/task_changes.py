"""Answers the Task service's calls that change a task: pause, signals, limits, checkpoint, terminal size."""

from __future__ import annotations

from runwasi.executor.errors import Invalid, NotFound, WrongStatus
from runwasi.executor.parent import errands
from runwasi.executor.parent.errands import LONG
from runwasi.linux import processes
from runwasi.oci.decode import decode, parse_json
from runwasi.shim.server import codes
from runwasi.shim.server.codes import RpcError
from runwasi.shim.services.tasks.task_process import require
from runwasi.wire.messages import events
from runwasi.wire.messages.well_known import Empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runwasi.linux.waiting import Operation
    from runwasi.shim.server.call import Call
    from runwasi.shim.server.ttrpc_server import Handler
    from runwasi.shim.services.tasks.task import Task
    from runwasi.shim.services.tasks.task_process import TaskProcess
    from runwasi.shim.services.tasks.task_table import TaskTable
    from runwasi.wire.codec import Message
    from runwasi.wire.messages import task as api

_OK = Empty()
_SIGKILL = 9


class TaskChanges:
    """Changes tasks, and publishes what has changed."""

    def __init__(self, tasks: TaskTable, publish: Callable[[Message], None]) -> None:
        self._tasks = tasks
        self._publish = publish

    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods by name."""
        return {
            "Pause": self._pause,
            "Resume": self._resume,
            "Kill": self._kill,
            "Update": self._update,
            "Checkpoint": self._checkpoint,
            "ResizePty": self._resize_pty,
            "CloseIO": self._close_io,
        }

    def _pause(self, request: api.PauseRequest, _call: Call) -> Operation[Message]:
        task = self._tasks.task(request.id)
        require("pause", task.init.state)
        if task.pausing:
            raise WrongStatus("cannot pause a pausing process")
        task.pausing = True
        try:
            yield from task.container.pause()
        finally:
            task.pausing = False
        require("pause", task.init.state)  # it may have ended meanwhile
        task.init.state = "paused"
        self._publish(events.TaskPaused(container_id=task.id))
        return _OK

    def _resume(self, request: api.ResumeRequest, _call: Call) -> Message:
        task = self._tasks.task(request.id)
        require("resume", task.init.state)
        task.container.resume()
        task.init.state = "running"
        self._publish(events.TaskResumed(container_id=task.id))
        return _OK

    def _kill(self, request: api.KillRequest, _call: Call) -> Message:
        if request.id in self._tasks.creating and not request.exec_id:
            if request.signal:  # no program runs yet that could handle the signal
                self._tasks.creating[request.id].give_up("killed")
            return _OK
        task = self._tasks.task(request.id)
        process = self._tasks.process(task, request.exec_id)
        if request.exec_id:
            self._kill_exec(process, request.signal)
        elif request.all:
            self._kill_all(task, request.signal)
        elif process.state == "stopped" or task.init_exited:
            raise NotFound("process already finished")
        else:
            self._kill_init(task, request.signal)
        return _OK

    def _kill_init(self, task: Task, signal: int) -> None:
        if task.restoration is not None and task.init.starting and signal == _SIGKILL:
            task.init.give_up_start(f"container {task.id} was killed before it was restored")
            return
        task.require_process("kill")
        try:
            task.container.kill(signal)
        except WrongStatus:  # it ended between the kernel's notification and this call
            raise NotFound("process already finished") from None

    def _kill_all(self, task: Task, signal: int) -> None:
        try:
            task.container.kill(signal, all_processes=True)
        except WrongStatus:
            return  # no process is left, as the caller wants

    def _kill_exec(self, process: TaskProcess, signal: int) -> None:
        pidfd = None if process.pidfd is None else process.pidfd.fileno()
        if process.starting and process.execution and process.execution.child:
            pidfd = process.execution.child.pidfd
        elif process.starting and signal == _SIGKILL:  # for example while its logger is not ready
            process.give_up_start(f"exec {process.exec_id} was killed before it ran")
            return
        elif process.state == "created":
            raise RpcError(codes.FAILED_PRECONDITION, "process not created")
        if pidfd is None:
            raise NotFound("process already finished")
        try:
            processes.pidfd_send_signal(pidfd, signal)
        except ProcessLookupError:
            raise NotFound("process already finished") from None

    def _update(self, request: api.UpdateTaskRequest, _call: Call) -> Operation[Message]:
        from runwasi.oci.resources import Resources  # late: few containers are ever updated

        task = self._tasks.task(request.id)
        require("update", task.init.state)
        if request.resources is None:
            raise Invalid("update without resources")
        resources = decode(Resources, parse_json(request.resources.value))
        # A limit below current usage makes the kernel write back and reclaim memory, which may take long.
        yield from errands.run(lambda: task.container.update(resources), f"update of {task.id}")
        return _OK

    def _checkpoint(self, request: api.CheckpointTaskRequest, call: Call) -> Operation[Message]:
        from runwasi.shim.services.calls.checkpoint_call import checkpoint  # late: few hosts have criu

        task = self._tasks.task(request.id)
        require("checkpoint", task.init.state)
        call.patience = LONG
        yield from checkpoint(task.container, request)
        self._publish(events.TaskCheckpointed(container_id=task.id, checkpoint=request.path))
        return _OK

    def _resize_pty(self, request: api.ResizePtyRequest, _call: Call) -> Message:
        process = self._tasks.process(self._tasks.task(request.id), request.exec_id)
        if request.exec_id and process.state == "stopped":
            raise WrongStatus("cannot resize a stopped container")
        if process.streams:
            process.streams.resize(request.width, request.height)
        return _OK

    def _close_io(self, request: api.CloseIORequest, _call: Call) -> Message:
        task = self._tasks.task(request.id)
        try:
            process = self._tasks.process(task, request.exec_id)
        except NotFound as error:  # containerd's own shim returns no code for this error
            raise RpcError(codes.UNKNOWN, str(error)) from None
        if request.stdin and process.streams:
            process.streams.close_stdin()
        return _OK
