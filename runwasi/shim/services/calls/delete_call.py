"""Answers Delete: removes a container, and finishes even if the calls that asked for it are cancelled."""

from __future__ import annotations

from runwasi.executor.lifecycle.deletion import delete
from runwasi.executor.parent.errands import LONG
from runwasi.linux.waiting import TURN
from runwasi.shim.server import codes
from runwasi.shim.server.codes import RpcError
from runwasi.shim.server.events import now
from runwasi.shim.services.calls.bundle_folder import BundleFolder
from runwasi.shim.services.rootfs.mounters import unmount_rootfs
from runwasi.shim.services.tasks.task_process import require
from runwasi.wire.messages import events
from runwasi.wire.messages import task as api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.linux.waiting import Operation
    from runwasi.shim.server.call import Call
    from runwasi.shim.server.log import Log
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.services.rootfs.mounters import Mounters
    from runwasi.shim.services.tasks.task import Task
    from runwasi.shim.services.tasks.task_process import TaskProcess
    from runwasi.wire.codec import Message

_KILLED = 128 + 9


class Removals:
    """Removes tasks; calls `gone` with a removed one, just before it answers the calls that asked."""

    def __init__(
        self,
        reactor: Reactor,
        publish: Callable[[Message], None],
        log: Log,
        mounters: Mounters | None,
        gone: Callable[[Task], None],
    ) -> None:
        self._reactor = reactor
        self._mounters = mounters
        self._publish = publish
        self._log = log
        self._gone = gone

    def remove(self, task: Task, call: Call) -> None:
        """Answer the call once the task is removed, which the first call begins. Raises WrongStatus."""
        if not task.deletes:
            require("delete", task.init.state)
        task.deletes.append(call)
        if len(task.deletes) == 1:
            removal = self._reactor.follow(self._removed(task), lambda _, error: self._answer(task, error))
            removal.limit(LONG, RpcError(codes.DEADLINE_EXCEEDED, f"not removed after {LONG:.0f} s"))

    def remove_exec(self, task: Task, process: TaskProcess) -> Message:
        """Forget an exec. Raises WrongStatus."""
        require("delete", process.state)
        process.close()
        task.execs.pop(process.exec_id, None)
        return _how_it_ended(process)

    def _removed(self, task: Task) -> Operation[None]:
        """Remove a container.

        Until it is removed, and all earlier calls are answered, it counts as stopped.
        """
        task.init.give_up_start(f"container {task.id} is deleted")
        if task.init.state == "created" and task.restoration is None:
            yield from task.end_unstarted()
        yield from delete(task.container, force=task.restoration is not None)
        task.close()
        folder = BundleFolder(task.container.bundle, task.container.folder.path)
        yield from unmount_rootfs(folder, mounted=task.mounted, mounters=self._mounters)
        # One thread of containerd may ask for the state while another waits for this answer. If it gets
        # NotFound before it has recorded the exit, it takes the container for a running one. So we first
        # answer its earlier calls, then this one; after that, it has forgotten the task and makes no more
        # calls.
        yield TURN

    def _answer(self, task: Task, error: Exception | None) -> None:
        deletes, task.deletes = task.deletes, []
        if error is None:
            self._gone(task)
            self._publish(
                events.TaskDelete(
                    container_id=task.id,
                    pid=task.init.pid,
                    exit_status=task.init.exit_status,
                    exited_at=task.init.exited_at,
                )
            )
        elif not codes.is_expected(error):
            self._log.fault("Delete", error)
        for call in deletes:
            if error is None:
                call.reply(_how_it_ended(task.init))
            else:
                call.fail(error)


class Unmade:
    """A container whose Create call is still in progress; Kill and Delete cancel that call."""

    def __init__(self, task_id: str, create: Call) -> None:
        self._id = task_id
        self._create = create
        self._deletes: list[Call] = []

    def give_up(self, why: str) -> None:
        """Cancel the creation."""
        reason = f"container {self._id} was {why} before it was created"
        self._create.cancel(RpcError(codes.FAILED_PRECONDITION, reason))

    def delete(self, call: Call) -> None:
        """Cancel the creation, and answer the call once everything is undone."""
        self._deletes.append(call)
        self.give_up("deleted")

    def is_gone(self) -> None:
        """Answer the calls that wait for its end."""
        for call in self._deletes:
            call.reply(api.DeleteResponse(exit_status=_KILLED, exited_at=now()))


def _how_it_ended(process: TaskProcess) -> Message:
    return api.DeleteResponse(pid=process.pid, exit_status=process.exit_status, exited_at=process.exited_at)
