"""The Task service, versions 2 and 3: what containerd asks about containers, translated for the executor.

Source: containerd core/runtime/v2/README.md; observed on containerd-shim-runc-v2 (docs/task-api.md compares).
"""

from __future__ import annotations

import os

from runwasi.executor.errors import AlreadyExists, Invalid, NotFound, WrongStatus
from runwasi.executor.parent import errands
from runwasi.executor.parent.errands import LONG
from runwasi.linux import processes
from runwasi.oci.decode import decode, parse_json
from runwasi.oci.process import Process as ProcessSpec
from runwasi.oci.record import replaced
from runwasi.shim.server import codes
from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.events import pack
from runwasi.shim.services.create_call import Creating
from runwasi.shim.services.delete_call import Removals, Unmade
from runwasi.shim.services.start_call import Starting, check_start
from runwasi.shim.services.task import Process, Task, require
from runwasi.shim.streams.process_streams import StreamPaths
from runwasi.wire.messages import events, task_types
from runwasi.wire.messages import task as api
from runwasi.wire.messages.options import ProcessDetails
from runwasi.wire.messages.well_known import Empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from runwasi.executor.container import Container
    from runwasi.linux.waiting import Operation
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.call import Call
    from runwasi.shim.server.events import Publisher
    from runwasi.shim.server.log import Log
    from runwasi.shim.services.create_call import Pod
    from runwasi.wire.codec import Message

    Handler = Callable[[Any, Call], Message | Operation[Message] | None]

NAMES = ("containerd.task.v2.Task", "containerd.task.v3.Task")
"""Both versions have the same messages."""

_STATUS = {
    "created": task_types.CREATED,
    "running": task_types.RUNNING,
    "paused": task_types.PAUSED,
    "stopped": task_types.STOPPED,
}
_OK = Empty()
_SIGKILL = 9


class TaskService:
    """All tasks of a pod; shutdown is called when containerd wants the server gone and no task is left."""

    def __init__(self, pod: Pod, publisher: Publisher, log: Log, shutdown: Callable[[], None]) -> None:
        self._pod = pod
        self._publisher = publisher
        self._publish = publisher.publish
        self._log = log
        self._shutdown = shutdown
        self._tasks: dict[str, Task] = {}
        self._creating: dict[str, Unmade] = {}
        self._removals = Removals(pod.reactor, publisher.publish, log, self._removed)
        self._kept: Callable[[], bool] = lambda: False
        self._ending = False

    @property
    def busy(self) -> bool:
        """Whether there are tasks, or some on their way."""
        return bool(self._tasks or self._creating) or self._kept()

    def kept_by(self, kept: Callable[[], bool]) -> None:
        """Stay as long as kept() is true too: a sandbox needs no task."""
        self._kept = kept

    def refuse_new(self) -> None:
        """Create no more tasks: the server is about to end, and nobody would look after them."""
        self._ending = True

    def quiet(self) -> bool:
        """Whether nothing is under way that another program could not go on with."""
        waits = any(task.restoration for task in self._tasks.values())
        return not (self._creating or waits or self._pod.reactor.operations)

    def take_over(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on with the tasks of a program whose place we take."""
        for state in states:
            task = Task.taken_over(
                self._pod.reactor, state, self._publish, self._log.warning, self._pod.environment
            )
            self._tasks[task.id] = task

    def state(self, keep: Keep) -> list[dict[str, Any]]:
        """Return what is needed to go on in another program."""
        return [task.state(keep) for task in self._tasks.values()]

    def abandon(self, task_id: str) -> None:
        """Forget a task once it has ended, which somebody else has seen to, and end with the last."""
        task = self._tasks.get(task_id)
        if task is not None:
            task.when_over(lambda: self._abandoned(task))
        elif not self.busy:
            self._shutdown()

    def _abandoned(self, task: Task) -> None:
        task.close()
        self._tasks.pop(task.id, None)
        if not self.busy:
            self._shutdown()

    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods by name."""
        return {
            "State": self._state,
            "Create": self._create,
            "Start": self._start,
            "Delete": self._delete,
            "Pids": self._pids,
            "Pause": self._pause,
            "Resume": self._resume,
            "Checkpoint": self._checkpoint,
            "Kill": self._kill,
            "Exec": self._exec,
            "ResizePty": self._resize_pty,
            "CloseIO": self._close_io,
            "Update": self._update,
            "Wait": self._wait,
            "Stats": self._stats,
            "Connect": self._connect,
            "Shutdown": self._shut_down,
        }

    # a task's beginning and end

    def _create(self, request: api.CreateTaskRequest, call: Call) -> Operation[Message]:
        if request.id in self._tasks or request.id in self._creating:
            raise AlreadyExists(f"container {request.id}")
        if self._ending:
            raise RpcError(codes.UNAVAILABLE, "the shim is shutting down")
        unmade = self._creating[request.id] = Unmade(request.id, call)
        try:
            creating = _creating_of(request)(self._pod, request)
            container = yield from creating.run()
        except Exception:
            unmade.is_gone()
            raise
        finally:
            del self._creating[request.id]
        self._created(creating, request, container)
        return api.CreateTaskResponse(pid=container.pid)

    def _created(self, creating: Creating, request: api.CreateTaskRequest, container: Container) -> None:
        init = Process("", creating.paths)
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
        self._tasks[request.id] = Task(
            self._pod.reactor,
            container,
            init,
            self._publish,
            mounted=bool(request.rootfs),
            restoration=creating.restoration,
        )

    def _delete(self, request: api.DeleteRequest, call: Call) -> Message | None:
        if request.id in self._creating and not request.exec_id:
            self._creating[request.id].delete(call)
            return None
        task = self._task(request.id)
        process = self._process(task, request.exec_id)
        if process is task.init:
            self._removals.remove(task, call)
            return None
        if process.starting:
            process.deletes.append(call)
            process.give_up_start(f"exec {process.exec_id} is deleted")
            return None
        return self._removals.remove_exec(task, process)

    def _removed(self, task: Task) -> None:
        del self._tasks[task.id]

    # starting

    def _start(self, request: api.StartRequest, call: Call) -> Operation[Message]:
        task = self._task(request.id)
        process = self._process(task, request.exec_id)
        check_start(task, process)
        process.starting = call
        try:
            yield from Starting(self._pod, self._publish, task, process).run(call)
        finally:
            task.start_over(process)
            deletes, process.deletes = process.deletes, []
            for delete_call in deletes:
                delete_call.reply(self._removals.remove_exec(task, process))
        return api.StartResponse(pid=process.pid)

    def _exec(self, request: api.ExecProcessRequest, _call: Call) -> Message:
        task = self._task(request.id)
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
        task.execs[request.exec_id] = Process(request.exec_id, paths, spec)
        self._publish(events.TaskExecAdded(container_id=task.id, exec_id=request.exec_id))
        return _OK

    # changing what runs

    def _pause(self, request: api.PauseRequest, _call: Call) -> Operation[Message]:
        task = self._task(request.id)
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
        task = self._task(request.id)
        require("resume", task.init.state)
        task.container.resume()
        task.init.state = "running"
        self._publish(events.TaskResumed(container_id=task.id))
        return _OK

    def _kill(self, request: api.KillRequest, _call: Call) -> Message:
        if request.id in self._creating and not request.exec_id:
            if request.signal:  # there is no program yet that might take it otherwise
                self._creating[request.id].give_up("killed")
            return _OK
        task = self._task(request.id)
        process = self._process(task, request.exec_id)
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
        except WrongStatus:  # it ended between the kernel's word to us and this call
            raise NotFound("process already finished") from None

    def _kill_all(self, task: Task, signal: int) -> None:
        try:
            task.container.kill(signal, all_processes=True)
        except WrongStatus:
            return  # none is left, which is what the caller wants

    def _kill_exec(self, process: Process, signal: int) -> None:
        pidfd = None if process.pidfd is None else process.pidfd.fileno()
        if process.starting and process.execution and process.execution.child:
            pidfd = process.execution.child.pidfd
        elif process.starting and signal == _SIGKILL:  # while its logger is not ready, say
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

        task = self._task(request.id)
        require("update", task.init.state)
        if request.resources is None:
            raise Invalid("update without resources")
        resources = decode(Resources, parse_json(request.resources.value))
        # A limit below what is in use has the kernel write back and reclaim for as long as that takes.
        yield from errands.run(lambda: task.container.update(resources), f"update of {task.id}")
        return _OK

    def _checkpoint(self, request: api.CheckpointTaskRequest, call: Call) -> Operation[Message]:
        from runwasi.shim.services.checkpoint_call import checkpoint  # late: few hosts have criu

        task = self._task(request.id)
        require("checkpoint", task.init.state)
        call.patience = LONG
        yield from checkpoint(task.container, request)
        self._publish(events.TaskCheckpointed(container_id=task.id, checkpoint=request.path))
        return _OK

    def _resize_pty(self, request: api.ResizePtyRequest, _call: Call) -> Message:
        process = self._process(self._task(request.id), request.exec_id)
        if request.exec_id and process.state == "stopped":
            raise WrongStatus("cannot resize a stopped container")
        if process.streams:
            process.streams.resize(request.width, request.height)
        return _OK

    def _close_io(self, request: api.CloseIORequest, _call: Call) -> Message:
        task = self._task(request.id)
        try:
            process = self._process(task, request.exec_id)
        except NotFound as error:  # containerd's own shim leaves this one without a code
            raise RpcError(codes.UNKNOWN, str(error)) from None
        if request.stdin and process.streams:
            process.streams.close_stdin()
        return _OK

    # asking

    def _state(self, request: api.StateRequest, _call: Call) -> Message:
        task = self._task(request.id)
        process = self._process(task, request.exec_id)
        state = "paused" if task.init.state == "paused" else process.state
        if task.deletes:
            state = "stopped"
        return api.StateResponse(
            id=request.exec_id or task.id,
            bundle=task.container.bundle,
            pid=process.pid,
            status=_STATUS[state],
            stdin=process.paths.stdin,
            stdout=process.paths.stdout,
            stderr=process.paths.stderr,
            terminal=process.paths.terminal,
            exit_status=process.exit_status,
            exited_at=process.exited_at,
        )

    def _wait(self, request: api.WaitRequest, call: Call) -> Message | None:
        return self._process(self._task(request.id), request.exec_id).wait(call)

    def _pids(self, request: api.PidsRequest, _call: Call) -> Message:
        task = self._task(request.id)
        execs = {process.pid: process for process in task.execs.values() if process.pidfd is not None}
        pids = set(task.container.pids()) if task.init.pid else set()
        # A containerd that comes back takes a task without pids for a leak and deletes it: not while it runs
        # (its cgroup may have been removed), nor before its end has been told.
        if task.init.pid and (not task.init_exited or (not pids and self._publisher.waiting)):
            pids.add(task.init.pid)
        return api.PidsResponse(
            processes=[
                task_types.ProcessInfo(
                    pid=pid, info=pack(ProcessDetails(exec_id=execs[pid].exec_id)) if pid in execs else None
                )
                for pid in sorted(pids)
            ]
        )

    def _stats(self, request: api.StatsRequest, _call: Call) -> Message:
        from runwasi.shim.services.stats import metrics  # late: most containers end before anybody asks

        task = self._task(request.id)
        try:
            return api.StatsResponse(stats=metrics(task.container.usage()))
        except OSError:
            if not task.deletes:
                raise
            raise NotFound("cgroup does not exist") from None

    def _connect(self, request: api.ConnectRequest, _call: Call) -> Message:
        task = self._tasks.get(request.id)
        return api.ConnectResponse(shim_pid=os.getpid(), task_pid=task.init.pid if task else 0)

    def _shut_down(self, _request: api.ShutdownRequest, _call: Call) -> Message:
        if not self.busy:
            self._shutdown()
        return _OK

    def _task(self, task_id: str) -> Task:
        task = self._tasks.get(task_id)
        if task is None:
            raise NotFound("container not created")
        return task

    def _process(self, task: Task, exec_id: str) -> Process:
        process = task.execs.get(exec_id) if exec_id else task.init
        if process is None:
            raise NotFound(f"process does not exist {exec_id}")
        return process


def _creating_of(request: api.CreateTaskRequest) -> type[Creating]:
    """Return what carries out a Create call: from a bundle alone, or from a checkpoint too."""
    if not request.checkpoint:
        return Creating
    from runwasi.shim.services.restore_call import Restoring  # late: few hosts have criu

    return Restoring
