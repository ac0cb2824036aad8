"""Answers Start: opens the gate of a waiting init, restores one from a checkpoint, or makes an exec.

Only this call waits for the starting process. If the call is cancelled, the process is killed.
"""

from __future__ import annotations

from time import monotonic_ns

from runwasi.executor.errors import WrongStatus
from runwasi.executor.parent.errands import LONG
from runwasi.linux import processes
from runwasi.linux.fd import Fd
from runwasi.shim.server import codes
from runwasi.shim.server.codes import RpcError
from runwasi.shim.services.tasks.task_process import require
from runwasi.shim.streams.process_streams import Streams
from runwasi.wire.messages import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.executor.criu.restore import Restoration
    from runwasi.linux.waiting import Operation
    from runwasi.shim.server.call import Call
    from runwasi.shim.services.calls.create_call import Pod
    from runwasi.shim.services.tasks.task import Task
    from runwasi.shim.services.tasks.task_process import TaskProcess
    from runwasi.wire.codec import Message


def check_start(task: Task, process: TaskProcess) -> None:
    """Raise RpcError or WrongStatus if the process cannot be started now."""
    is_init = process is task.init
    if task.init_exited and not is_init:
        raise RpcError(codes.FAILED_PRECONDITION, f"container {task.id} init process is not running")
    if process.failed or process.starting or task.deletes:
        what = "a container" if is_init else "an exec process"
        raise WrongStatus(f"cannot start {what} a second time")
    require("start", process.state)
    if task.init_exited:
        raise WrongStatus("cannot start a stopped process")


class Starting:
    """A Start call in progress."""

    def __init__(
        self, pod: Pod, publish: Callable[[Message], None], task: Task, process: TaskProcess
    ) -> None:
        self._pod = pod
        self._publish = publish
        self._task = task
        self._process = process

    def run(self, call: Call) -> Operation[None]:
        """Start the process, and tell containerd.

        Raises ContainerError, OSError, or the error that cancels the call.
        """
        task = self._task
        if self._process is not task.init:
            yield from self._start_exec()
        elif task.restoration is not None:
            call.patience = LONG
            yield from self._restore(task.restoration)
        else:
            yield from self._start_init(call)

    def _start_init(self, call: Call) -> Operation[None]:
        began = monotonic_ns()
        try:
            yield from self._task.container.start()
        except RpcError:  # it timed out or is being deleted: the program must not start later
            yield from self._task.container.end()
            raise
        if self._pod.log.tells_details or call.span:
            from runwasi.executor.telemetry.timing import mark_start  # late: only for traces and -debug

            mark_start(self._task.container.folder.path, began)
        self._init_runs()

    def _restore(self, restoration: Restoration) -> Operation[None]:
        """Start from a checkpoint: Create has made the container, and its processes are made now."""
        from runwasi.shim.services.calls.restore_call import restore  # late: few hosts have criu

        try:
            yield from restore(self._task, restoration)
        except Exception:
            self._process.could_not_start()
            raise
        self._init_runs()

    def _init_runs(self) -> None:
        self._process.state = "running"
        self._publish(events.TaskStart(container_id=self._task.id, pid=self._process.pid))

    def _start_exec(self) -> Operation[None]:
        process, pod = self._process, self._pod
        try:
            streams = process.streams = Streams(
                pod.reactor,
                process.paths,
                process.exec_id,
                pod.namespace,
                (0, 0),
                pod.environment,
                pod.log,
            )
            yield from streams.ready()
            yield from self._execute(streams)
        except Exception:
            process.could_not_start()
            raise

    def _execute(self, streams: Streams) -> Operation[None]:
        from runwasi.executor.parent.execution import (  # late: most containers have no exec
            ExecOptions,
            Execution,
        )

        process, task = self._process, self._task
        assert process.spec is not None
        options = ExecOptions(
            stdio=streams.stdio,
            console_socket=streams.console_socket,
            engine=self._pod.engine,
            guest_procfs=self._pod.guest_procfs,
        )
        process.execution = Execution(task.container, process.spec, options)
        child = yield from process.execution.run()
        try:
            streams.handed_over()
        except Exception:  # its terminal could not be connected: the program must not run
            yield from processes.end(child.pidfd)
            raise
        task.exec_started(process, child.pid, Fd(child.pidfd))
        self._publish(events.TaskExecStarted(container_id=task.id, exec_id=process.exec_id, pid=process.pid))
