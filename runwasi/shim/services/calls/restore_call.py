"""Answers Create and Start for a container that comes from a checkpoint.

Create makes everything but the processes, as containerd's own shim does. Start lets criu make them, in a
child of ours; when that child ends, they become our own children.
"""

from __future__ import annotations

import os

from runwasi.executor.criu.checkpoint import CheckpointOptions
from runwasi.executor.criu.restore import begin_restore
from runwasi.executor.parent import errands
from runwasi.executor.process.process_settings import write_pid_file
from runwasi.shim.services.calls.bundle_folder import BundleFolder
from runwasi.shim.services.calls.checkpoint_call import WORK
from runwasi.shim.state_root import PID_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.criu.restore import Restoration
    from runwasi.executor.plan.bundle import Bundle
    from runwasi.executor.plan.create_options import CreateOptions
    from runwasi.linux.waiting import Operation
    from runwasi.shim.services.tasks.task import Task
    from runwasi.wire.messages.task import CreateTaskRequest


def begin(
    root: str, request: CreateTaskRequest, bundle: Bundle, options: CreateOptions, work_path: str
) -> Operation[Restoration]:
    """Make the container of a Create call with a checkpoint, without its processes. Raises as begin_restore does.

    work_path is the folder for CRIU's logs that the runtime options name, "" for one in the bundle.
    """
    images = CheckpointOptions(
        image_path=request.checkpoint, work_path=work_path or f"{request.bundle}/{WORK}"
    )
    return begin_restore(root, request.id, bundle, options, images)


def restore(task: Task, restoration: Restoration) -> Operation[None]:
    """Restore the processes of a task and follow them. Raises ContainerError or OSError."""

    def work() -> None:
        restoration.run()

    yield from errands.run(work, f"restoring {task.id}", kept=restoration.fds(), seconds=errands.LONG)
    task.restored()
    assert task.init.streams is not None
    task.init.streams.handed_over()
    pid_file = os.path.join(task.container.bundle, PID_FILE)
    folder = BundleFolder(task.container.bundle, task.container.folder.path)
    yield from folder.do(lambda: write_pid_file(pid_file, task.container.pid), f"writing {pid_file}")
