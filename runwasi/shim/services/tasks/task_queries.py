"""Answers the Task service's queries: state, exit, processes, statistics."""

from __future__ import annotations

import os

from runwasi.executor.errors import NotFound
from runwasi.shim.server.events import pack
from runwasi.wire.messages import task as api
from runwasi.wire.messages import task_types
from runwasi.wire.messages.options import ProcessDetails

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.shim.server.call import Call
    from runwasi.shim.server.events import Publisher
    from runwasi.shim.server.ttrpc_server import Handler
    from runwasi.shim.services.tasks.task_table import TaskTable
    from runwasi.wire.codec import Message

_STATUS = {
    "created": task_types.CREATED,
    "running": task_types.RUNNING,
    "paused": task_types.PAUSED,
    "stopped": task_types.STOPPED,
}


class TaskQueries:
    """Answers queries about tasks."""

    def __init__(self, tasks: TaskTable, publisher: Publisher) -> None:
        self._tasks = tasks
        self._publisher = publisher

    def handlers(self) -> Mapping[str, Handler]:
        """Return the methods by name."""
        return {
            "State": self._state,
            "Wait": self._wait,
            "Pids": self._pids,
            "Stats": self._stats,
            "Connect": self._connect,
        }

    def _state(self, request: api.StateRequest, _call: Call) -> Message:
        task = self._tasks.task(request.id)
        process = self._tasks.process(task, request.exec_id)
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
        return self._tasks.process(self._tasks.task(request.id), request.exec_id).wait(call)

    def _pids(self, request: api.PidsRequest, _call: Call) -> Message:
        task = self._tasks.task(request.id)
        execs = {process.pid: process for process in task.execs.values() if process.pidfd is not None}
        pids = set(task.container.pids()) if task.init.pid else set()
        # A restarted containerd takes a task without pids for a leak, and deletes it. So always return the
        # init's pid while it runs (its cgroup may have been removed), and until its end has been reported.
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
        from runwasi.shim.services.tasks.stats import metrics  # late: most containers end without this query

        task = self._tasks.task(request.id)
        try:
            return api.StatsResponse(stats=metrics(task.container.usage()))
        except OSError:
            if not task.deletes:
                raise
            raise NotFound("cgroup does not exist") from None

    def _connect(self, request: api.ConnectRequest, _call: Call) -> Message:
        task = self._tasks.by_id.get(request.id)
        return api.ConnectResponse(shim_pid=os.getpid(), task_pid=task.init.pid if task else 0)
