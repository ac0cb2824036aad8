"""Answers Checkpoint: translates containerd's options into those of the executor's checkpoint."""

from __future__ import annotations

import os

from runwasi.executor.criu import checkpoint as executor
from runwasi.executor.criu.criu_service import CGROUPS_MODES
from runwasi.executor.errors import Invalid
from runwasi.executor.parent import errands
from runwasi.shim.services.calls.runtime_options import message_name
from runwasi.wire.messages.older_options import CheckpointOptions as OlderOptions
from runwasi.wire.messages.options import CheckpointOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.lifecycle.container import Container
    from runwasi.linux.waiting import Operation
    from runwasi.wire.messages.task import CheckpointTaskRequest
    from runwasi.wire.messages.well_known import Any

WORK = "criu-work"
"""Folder of the bundle for CRIU's logs, which are no part of the image that containerd stores."""


def checkpoint(container: Container, request: CheckpointTaskRequest) -> Operation[None]:
    """Write the container to the request's path. Raises ContainerError or WireError."""
    options = options_of(request, container.bundle)
    yield from errands.run(
        lambda: executor.checkpoint(container, options), f"checkpoint of {container.id}", seconds=errands.LONG
    )


def options_of(request: CheckpointTaskRequest, bundle: str) -> executor.CheckpointOptions:
    """Return the options of a request for the container of a bundle. Raises Invalid or WireError."""
    asked = _asked(request.options)
    if asked.cgroups_mode and asked.cgroups_mode not in CGROUPS_MODES:
        raise Invalid(f"checkpoint: invalid cgroups mode {asked.cgroups_mode}")
    for namespace in asked.empty_namespaces:
        if namespace != "network":
            raise Invalid(f"checkpoint: namespace {namespace} cannot be left out, only network")
    for name, path in (("path", request.path), ("work_path", asked.work_path)):
        if not os.path.isabs(path) and (path or name == "path"):
            raise Invalid(f"checkpoint: {name} {path!r} is not an absolute path")
    return executor.CheckpointOptions(
        image_path=request.path,
        work_path=asked.work_path or f"{bundle}/{WORK}",
        parent_path=asked.parent_path if isinstance(asked, CheckpointOptions) else "",
        tcp_established=asked.open_tcp,
        ext_unix_sk=asked.external_unix_sockets,
        shell_job=asked.terminal,
        file_locks=asked.file_locks,
        cgroups_mode=asked.cgroups_mode,
        leave_running=not asked.exit,
    )


def _asked(packed: Any | None) -> CheckpointOptions | OlderOptions:
    """Return the options in a request, of either type: clients of containerd 1.x send an older one."""
    if packed is None or not packed.value:
        return CheckpointOptions()
    for kind in (CheckpointOptions, OlderOptions):
        if message_name(packed) == kind.NAME:
            return kind.decode(packed.value)
    raise Invalid(f"checkpoint: options of type {packed.type_url} are not understood")
