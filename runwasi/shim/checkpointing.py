"""The Checkpoint call: containerd's options as those of the executor's checkpoint."""

from __future__ import annotations

from runwasi.executor import checkpoint as executor
from runwasi.proto.options import CheckpointOptions
from runwasi.shim import background

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.executor.container import Container
    from runwasi.executor.errors import ContainerError
    from runwasi.proto.task import CheckpointTaskRequest
    from runwasi.shim.reactor import Reactor

_SWITCHES = {
    "open_tcp": "tcp-established",
    "external_unix_sockets": "ext-unix-sk",
    "terminal": "shell-job",
    "file_locks": "file-locks",
}


def checkpoint(
    reactor: Reactor,
    container: Container,
    request: CheckpointTaskRequest,
    done: Callable[[ContainerError | None], None],
) -> None:
    """Write the container to the request's path; done gets the error, if any. Raises WireError."""
    asked = CheckpointOptions.decode(request.options.value if request.options else b"")
    options = executor.CheckpointOptions(
        request.path,
        work_path=asked.work_path,
        parent_path=asked.parent_path,
        flags=[switch for name, switch in _SWITCHES.items() if getattr(asked, name)],
        leave_running=not asked.exit,
    )
    background.run(reactor, lambda: executor.checkpoint(container, options), done)
