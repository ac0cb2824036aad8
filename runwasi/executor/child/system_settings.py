"""Sets host name, sysctls and scheduling, through the host's procfs rather than the rootfs's."""

from __future__ import annotations

import os
from errno import EPERM

from runwasi.executor.errors import ContainerError, asked_by
from runwasi.executor.process.process_settings import set_priorities
from runwasi.executor.protocol import PRIORITIES
from runwasi.linux import processes, scheduling, uts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.child.progress import InitProgress, Progress


def show_own_command(ctx: Progress) -> None:
    """Make ps and /proc show the container's program: our own command line has paths and sockets of the host.

    A module goes on running in this process, and a container may stay created for long.
    """
    ctx.plan.command_line.show()
    processes.set_name(os.path.basename(ctx.process.args[0]))


def set_hostname(ctx: InitProgress) -> None:
    """Set hostname and domainname of the container's uts namespace."""
    if ctx.plan.spec.hostname:
        uts.set_hostname(ctx.plan.spec.hostname)
    if ctx.plan.spec.domainname:
        uts.set_domainname(ctx.plan.spec.domainname)


def set_sysctls(ctx: InitProgress) -> None:
    """Write $.linux.sysctl, whose names were checked before anything was made.

    A value goes to the writer's namespace, so the host's procfs serves too; a fake /proc of the image cannot
    redirect the write (CVE-2025-52881).
    """
    for key, value in ctx.plan.spec.linux.sysctl.items():
        try:
            fd = os.open("sys/" + sysctl_path(key), os.O_WRONLY | os.O_CLOEXEC, dir_fd=ctx.plan.proc.fileno())
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise ContainerError(
                f"sysctl {key}: {error.strerror} ($.linux.sysctl[{key!r}])", errno=error.errno or 0
            ) from None


def sysctl_path(key: str) -> str:
    """Return the path of a sysctl below /proc/sys; the first . or / is the separator (man 8 sysctl)."""
    dot, slash = key.find("."), key.find("/")
    if slash == -1 or (dot != -1 and dot < slash):
        return key.translate({ord("."): "/", ord("/"): "."})
    return key


def set_scheduling(ctx: Progress) -> None:
    """Set I/O priority, scheduler, personality and memory policy while we still may."""
    try:
        set_priorities(ctx.process)
    except ContainerError as error:
        # The root of a user namespace may not raise its own priority over the host's processes; the parent may.
        if not ctx.plan.userns or error.errno != EPERM:
            raise
        ctx.left_to_parent = (PRIORITIES,)
    linux = ctx.plan.spec.linux
    if linux.personality:
        with asked_by("$.linux.personality"):
            scheduling.set_personality(linux.personality.domain)
    if linux.memory_policy:
        policy = linux.memory_policy
        with asked_by("$.linux.memoryPolicy"):
            scheduling.set_memory_policy(policy.mode, policy.nodes or "", policy.flags)
