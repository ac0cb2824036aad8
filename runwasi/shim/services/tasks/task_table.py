"""Keeps the tasks of a pod, and those being created."""

from __future__ import annotations

from runwasi.executor.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.shim.services.calls.delete_call import Unmade
    from runwasi.shim.services.tasks.task import Task
    from runwasi.shim.services.tasks.task_process import TaskProcess


class TaskTable:
    """The tables in which the calls of the Task service look tasks up.

    by_id     the tasks that Create has made, until they are deleted
    creating  the Create calls under way, by the id of the task to be
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Task] = {}
        self.creating: dict[str, Unmade] = {}

    def __bool__(self) -> bool:
        return bool(self.by_id or self.creating)

    def task(self, task_id: str) -> Task:
        """Return a task. Raises NotFound."""
        task = self.by_id.get(task_id)
        if task is None:
            raise NotFound("container not created")
        return task

    def process(self, task: Task, exec_id: str) -> TaskProcess:
        """Return an exec of a task, or the init for "". Raises NotFound."""
        process = task.execs.get(exec_id) if exec_id else task.init
        if process is None:
            raise NotFound(f"process does not exist {exec_id}")
        return process
