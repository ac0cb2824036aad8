"""Create and Start of a container that comes from a checkpoint.

Create makes all but its processes, as containerd's own shim does; Start has criu make them, in a child of ours
that is their parent only until it ends: then they are ours.
"""

from __future__ import annotations

import os

from runwasi.executor.criu.checkpoint import CheckpointOptions
from runwasi.executor.criu.restore import begin_restore
from runwasi.executor.process_settings import write_pid_file
from runwasi.shim.server import background
from runwasi.shim.services.checkpoint_call import WORK
from runwasi.shim.services.create_call import PID_FILE, Creating, load_bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.executor.criu.restore import Restoration
    from runwasi.shim.server.reactor import Reactor
    from runwasi.shim.services.task import Task


class Restoring(Creating):
    """One Create call with a checkpoint: done gets a container without a process."""

    def _make(self) -> None:
        request = self._request
        images = CheckpointOptions(
            image_path=request.checkpoint,
            work_path=self.options.criu_work_path or f"{request.bundle}/{WORK}",
        )
        self.restoration = begin_restore(
            self.root, request.id, load_bundle(request), self._create_options(), images
        )
        self._done(self.restoration.container, None)


def restore(
    reactor: Reactor, task: Task, restoration: Restoration, done: Callable[[Exception | None], None]
) -> None:
    """Restore the processes of a task and follow them; done gets the error, if any."""

    def ended(error: Exception | None) -> None:
        if error is None:
            try:
                task.restored()
                assert task.init.streams is not None
                task.init.streams.handed_over()
                write_pid_file(os.path.join(task.container.bundle, PID_FILE), task.container.pid)
            except Exception as failure:  # noqa: BLE001  whatever it is becomes the answer of the call
                error = failure
        done(error)

    background.run(reactor, restoration.run, ended, restoration.fds())
