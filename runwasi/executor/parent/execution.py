"""Starts a further process in a running container: exec.

It joins the namespaces and the cgroup of the container's first process, and takes the same steps. It is our
direct child, even in another pid namespace.
"""

from __future__ import annotations

import os
from errno import EACCES

from runwasi.engines.annotation_names import UNSAFE_PREFIX
from runwasi.executor.errors import ContainerError, Invalid, WrongStatus, describe
from runwasi.executor.lifecycle.early_end import ended_early
from runwasi.executor.lifecycle.status import require
from runwasi.executor.parent.conversation import END, Conversation, engine_of
from runwasi.executor.parent.launch_process import common_plan, launch
from runwasi.executor.parent.namespace_fork import NamespacePlan, open_doors
from runwasi.executor.plan.create_options import CreateOptions
from runwasi.executor.plan.process_plan import ProcessPlan
from runwasi.executor.process.process_settings import (
    compiled_filter,
    set_oom_score_adj,
    set_priorities,
    set_rlimits,
    write_pid_file,
)
from runwasi.executor.protocol import PRIORITIES, READY, WASM, Channel
from runwasi.executor.undo import Undo
from runwasi.linux import scheduling
from runwasi.linux.fd import Fd, close_owned
from runwasi.linux.namespaces import FLAGS
from runwasi.linux.processes import end, failed_unexecuted, pidfd_send_signal
from runwasi.oci.record import EMPTY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.engines.engine import Engine
    from runwasi.executor.lifecycle.container import Container
    from runwasi.linux.cgroups import Cgroup, Doors
    from runwasi.linux.processes import Child
    from runwasi.linux.seccomp_filter import Filter
    from runwasi.linux.waiting import Operation
    from runwasi.oci.process import CpuAffinity, Process


class ExecOptions(CreateOptions):
    """Options of exec: the options of create for a process, and the cgroups below the container's to join.

    cgroups has relative paths by controller, "" for all controllers. ignore_paused allows exec in a frozen
    container, where the process is frozen until the container is resumed.
    """

    __slots__ = ("cgroups", "ignore_paused")

    def __init__(
        self, *, cgroups: Mapping[str, str] = EMPTY, ignore_paused: bool = False, **options: object
    ) -> None:
        super().__init__(**options)  # type: ignore[arg-type]  # CreateOptions says what there is
        self.cgroups = cgroups
        self.ignore_paused = ignore_paused


class Execution:
    """A further process that is being started in a container."""

    def __init__(self, container: Container, process: Process, options: ExecOptions) -> None:
        self.child: Child | None = None
        """The process, once it has been forked; its pidfd is the caller's when run is done."""
        self._container = container
        self._process = process
        self._options = options
        self._undo = Undo()

    def run(self) -> Operation[Child]:
        """Fork it and follow it until its program runs.

        Raises WrongStatus if the container does not run, ContainerError if the process could not be executed.
        """
        container, options = self._container, self._options
        status = container.status()
        if not (status == "paused" and options.ignore_paused):
            require("exec", container.id, status)
        _check_releases(container.spec.annotations)
        return (yield from self._undo.around(self._run(_chosen_cgroup(container, options.cgroups))))

    def _run(self, cgroup: Cgroup) -> Operation[Child]:
        process = self._process
        seccomp = yield from compiled_filter(self._container.spec.linux.seccomp, self._options.cache_root)
        child, conversation, moved = _fork(
            self._container, cgroup, process, self._options, seccomp, self._undo
        )
        self.child = child
        self._undo.add(end, child.pidfd)
        if process.exec_cpu_affinity is None:
            scheduling.reset_affinity(child.pid)
        if moved:
            yield from _move(child, process, cgroup, self._container.pid)
        set_oom_score_adj(child.pid, process.oom_score_adj)
        conversation.proceed(str(child.pid))
        if not (yield from _await_start(conversation, child, process)):
            raise ended_early(self._container.spec)
        if self._options.pid_file:
            write_pid_file(self._options.pid_file, child.pid)
        yield from conversation.close()
        return child


def _check_releases(annotations: Mapping[str, str]) -> None:
    """Refuse unsafe annotations that the node no longer allows, although it did when the container was made."""
    releases = [name for name in annotations if name.startswith(UNSAFE_PREFIX)]
    if releases:
        from runwasi.executor.plan.check_annotations import check_unsafe  # late: few containers have any

        check_unsafe(releases)


def _chosen_cgroup(container: Container, paths: Mapping[str, str]) -> Cgroup:
    """Return the container's cgroup, or the requested ones below it."""
    cgroup = container.cgroup
    for controller, path in paths.items():
        if ".." in path.split("/"):
            raise Invalid(f"bad sub cgroup path: {path} is not a sub cgroup path of the container's")
        if controller and not cgroup.has(controller):
            raise Invalid(f"unknown controller {controller}")
        if path.strip("/"):
            cgroup = cgroup.below(path, (controller,) if controller else ())
    return cgroup


def _fork(
    container: Container,
    cgroup: Cgroup,
    process: Process,
    options: ExecOptions,
    seccomp: Filter | None,
    undo: Undo,
) -> tuple[Child, Conversation, bool]:
    """Fork the process into the container's pid namespace and cgroup; in it, never return.

    Returns it, and whether it must still be moved to the cgroup.
    """
    channel, child_channel = Channel.pair()

    def load_engine() -> Engine:
        return engine_of(options, container.spec.annotations, process)

    conversation = Conversation(channel, options, load_engine, container.forward_listener)
    undo.add(conversation.close)
    namespaces = _namespaces(container)
    root: Fd | None = None
    doors: Doors | None = None
    try:
        doors = _doors(namespaces, cgroup, process)
        root = Fd(os.open(_root_of(container), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        common = common_plan(container, process, options, namespaces, doors, load_engine)
        plan = ProcessPlan(
            **common,  # type: ignore[arg-type]  # it says which members these are
            userns=namespaces.joins("user"),
            seccomp=seccomp,
            root=root,
            keeps_root=not namespaces.joins("mnt"),
        )
        child = launch(plan, child_channel, namespaces, doors)
    finally:
        namespaces.close()
        child_channel.close()
        close_owned((root,))
        if doors:
            doors.close()
    return child, conversation, doors is None or doors.shut


def _doors(namespaces: NamespacePlan, cgroup: Cgroup, process: Process) -> Doors | None:
    """Open the doors of the cgroup; None if the process must be moved there. Raises ContainerError."""
    if process.exec_cpu_affinity:
        return None  # it must be on its initial CPUs before it enters
    try:
        return open_doors(namespaces, cgroup)
    except OSError as error:
        why = f"error adding pid to cgroup {describe(error)}"
        raise ContainerError(why, errno=error.errno or 0) from None


def _namespaces(container: Container) -> NamespacePlan:
    """Return the namespaces of the first process that we are not in, to be joined.

    We open each namespace here, instead of entering all through the first process's pidfd: from inside its
    user namespace, nobody may look into a process that runs a module.
    """
    plan = NamespacePlan(0, [], None)
    try:
        for kind in FLAGS:
            fd = _open_other_namespace(container.pid, kind)
            if fd is not None:
                plan.joined.append((kind, fd))
        pidfd_send_signal(container.open_pidfd(), 0)  # it lives: these are its namespaces
    except BaseException as error:
        plan.close()
        if isinstance(error, ProcessLookupError):
            raise WrongStatus("container not running") from None
        if isinstance(error, PermissionError):
            why = "its first process may not be looked into; where that runs a module, exec takes the host's root"
            raise ContainerError(f"cannot enter the container: {why}", errno=EACCES) from None
        raise
    return plan


def _open_other_namespace(pid: int, kind: str) -> int | None:
    """Open a process's namespace of a kind; None if it is ours too, or the kernel lacks the kind."""
    try:
        fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if os.path.samestat(os.fstat(fd), os.stat(f"/proc/self/ns/{kind}")):
        os.close(fd)
        return None
    return fd


def _root_of(container: Container) -> str:
    """Return a path to the container's root; the /proc root of a process that runs a module is its guest's view."""
    if container.spec.linux.has("mount"):
        return f"/proc/{container.pid}/root"
    return container.saved.rootfs


def _move(child: Child, process: Process, cgroup: Cgroup, beside: int) -> Operation[None]:
    """Move the waiting process to the cgroup, and set its CPUs before and after."""
    affinity = process.exec_cpu_affinity
    if affinity and affinity.initial:
        _set_affinity(affinity, "initial", child.pid)
    if cgroup.unit:
        from runwasi.executor.parent import errands  # late: only with systemd, which may have to be asked

        yield from errands.run(lambda: cgroup.enter(child.pid, beside), f"entering {cgroup.unit}")
    else:
        cgroup.enter(child.pid, beside)
    if affinity and affinity.final:
        _set_affinity(affinity, "final", child.pid)


def _set_affinity(affinity: CpuAffinity, member: str, pid: int) -> None:
    try:
        scheduling.set_affinity(getattr(affinity, member), pid)
    except OSError as error:
        raise ContainerError(
            f"{describe(error)} ($.process.execCPUAffinity.{member})", errno=error.errno or 0
        ) from None


def _await_start(conversation: Conversation, child: Child, process: Process) -> Operation[bool]:
    """Set its limits on request, and follow it until it closes the channel; return whether its program runs then."""
    is_wasm = False
    while (message := (yield from conversation.next_message())).kind != END:
        assert message.kind == READY
        is_wasm = WASM in message.fields
        if PRIORITIES in message.fields:
            set_priorities(process, child.pid)
        set_rlimits(child.pid, process.rlimits)
        conversation.proceed()
    return is_wasm or not failed_unexecuted(child.pid)
