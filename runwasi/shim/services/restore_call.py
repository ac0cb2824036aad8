"""Create and Start of a container that comes from a checkpoint.

Create makes all but its processes, as containerd's own shim does; Start has criu make them, in a child of ours
that is their parent only until it ends: then they are ours.
"""

from __future__ import annotations

import os

from runwasi.executor.criu.checkpoint import CheckpointOptions
from runwasi.executor.criu.restore import begin_restore
from runwasi.executor.parent import errands
from runwasi.executor.process_settings import write_pid_file
from runwasi.shim.services.checkpoint_call import WORK
from runwasi.shim.services.create_call import PID_FILE, Creating

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.container import Container
    from runwasi.executor.criu.restore import Restoration
    from runwasi.executor.plan.bundle import Bundle
    from runwasi.linux.waiting import Operation
    from runwasi.shim.services.task import Task


class Restoring(Creating):
    """One Create call with a checkpoint: its container has no process."""

    def _make(self, bundle: Bundle) -> Operation[Container]:
        request = self._request
        images = CheckpointOptions(
            image_path=request.checkpoint,
            work_path=self.options.criu_work_path or f"{request.bundle}/{WORK}",
        )
        options = self._create_options()
        self.restoration = yield from begin_restore(self.root, request.id, bundle, options, images)
        return self.restoration.container


def restore(task: Task, restoration: Restoration) -> Operation[None]:
    """Restore the processes of a task and follow them. Raises ContainerError or OSError."""

    def work() -> None:
        restoration.run()

    yield from errands.run(work, f"restoring {task.id}", kept=restoration.fds(), seconds=errands.LONG)
    task.restored()
    assert task.init.streams is not None
    task.init.streams.handed_over()
    write_pid_file(os.path.join(task.container.bundle, PID_FILE), task.container.pid)
