"""Forks a container's process with its plan, for create and for exec."""

from __future__ import annotations

from runwasi.executor.child.progress import InitProgress, Progress
from runwasi.executor.child.walk import become_exec, become_init
from runwasi.executor.parent.namespace_fork import spawn
from runwasi.executor.plan.process_plan import InitPlan
from runwasi.linux.fd import Fd
from runwasi.linux.filesystems import open_procfs
from runwasi.linux.processes import CommandLine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.engines.engine import Engine
    from runwasi.executor.lifecycle.container import Container
    from runwasi.executor.parent.namespace_fork import NamespacePlan
    from runwasi.executor.plan.create_options import CreateOptions
    from runwasi.executor.plan.process_plan import ProcessPlan
    from runwasi.executor.protocol import Channel
    from runwasi.linux.cgroups import Doors
    from runwasi.linux.processes import Child
    from runwasi.oci.process import Process


def common_plan(
    container: Container,
    process: Process,
    options: CreateOptions,
    namespaces: NamespacePlan,
    doors: Doors | None,
    load_engine: Callable[[], Engine],
) -> dict[str, object]:
    """Return the members of a plan that every process gets in the same way. Opens the host's procfs."""
    proc = Fd(open_procfs())
    return {
        "id": container.id,
        "spec": container.spec,
        "process": process,
        "proc": proc,
        "load_engine": load_engine,
        "command_line": CommandLine(process.args, proc.fileno()),
        "stdio": options.stdio,
        "console_socket": options.console_socket,
        "preserve_fds": options.preserve_fds,
        "no_new_keyring": options.no_new_keyring,
        "guest_procfs": options.guest_procfs,
        "namespaces": tuple(namespaces.entered_by_child()),
        "cgroup_paths": container.cgroup.paths(),
        "cgroup_tasks": tuple(tasks.fileno() for tasks in doors.tasks) if doors else (),
    }


def launch(plan: ProcessPlan, channel: Channel, namespaces: NamespacePlan, doors: Doors | None) -> Child:
    """Fork the process that a plan describes; in it, never return.

    The plan's own descriptors, the child's end of the channel and the doors are closed here. Raises OSError.
    """
    timing = plan.timing if isinstance(plan, InitPlan) else None
    try:
        if timing is not None:
            timing.share_with_forks()
        child = spawn(namespaces, doors)
        if child is None:
            if isinstance(plan, InitPlan):
                alone = doors is not None and not doors.shut and namespaces.separate()
                become_init(InitProgress(plan, channel, waits=not alone))
            become_exec(Progress(plan, channel))
    finally:
        channel.close()
        plan.close()
        if doors:
            doors.close()
        if timing is not None:
            timing.keep_from_forks()
    return child
