"""Joins the container's namespaces, before any other step touches the container."""

from __future__ import annotations

import os

from runwasi.executor.parent.namespace_fork import write_time_offsets
from runwasi.linux import namespaces, network, processes
from runwasi.startup.thin_signal import set_wakeup_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.child.progress import InitProgress, Progress


def drop_parent_descriptors(ctx: Progress) -> None:
    """Close the creating process's descriptors: a shim's connections must end when the shim does."""
    set_wakeup_fd(-1)
    processes.close_fds_except(ctx.kept_fds())


def die_with_creator(ctx: Progress) -> None:
    """Ask to be killed when the creating process dies: nobody else would end us.

    The kernel resets this whenever the process changes its ids, so it is repeated after each such step.
    """
    processes.die_with_parent(ctx.channel.fileno())


def outlive_creator(_ctx: Progress) -> None:
    """Stop dying with the creator, before a filter can forbid the call for that.

    From here to the program, we only wait for the creator, and so notice its end.
    """
    processes.set_pdeathsig(0)


def enter_cgroup(ctx: Progress) -> None:
    """Enter the container's v1 cgroups while we have one thread, through files that the parent opened."""
    for fd in ctx.plan.cgroup_tasks:
        try:
            os.write(fd, b"0")
        except OSError as error:
            raise OSError(error.errno, error.strerror, "enter the container's cgroup") from None
        os.close(fd)


def close_setup_descriptors(ctx: Progress) -> None:
    """Close the descriptors of the earlier steps: from here on none leads out of the root (CVE-2024-21626)."""
    processes.close_fds_except(ctx.lasting_fds())


def make_time_namespace(ctx: InitProgress) -> None:
    """Make and enter a time namespace that our user namespace must own; the parent makes any other.

    It comes before the process becomes non-dumpable, which would close its own file of offsets, too.
    """
    new = {namespace.type for namespace in ctx.plan.spec.linux.namespaces if not namespace.path}
    if not new >= {"time", "user"}:
        return
    namespaces.unshare(namespaces.CLONE_NEWTIME)
    write_time_offsets(ctx.plan.spec.linux.time_offsets)
    made = os.open("/proc/self/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC)
    namespaces.setns(made, namespaces.CLONE_NEWTIME)
    os.close(made)


def wait_for_parent(ctx: Progress) -> None:
    """Wait for the id maps and the cgroup if we need them; no code of the container runs outside its cgroup."""
    if ctx.waits:
        _hear_from_parent(ctx)
    # From here on, no process of the container may trace us or open our program (CVE-2019-5736). Not earlier:
    # newuidmap looks at who owns our /proc folder.
    processes.set_dumpable(False)
    os.setsid()


def wait_for_limits(ctx: InitProgress) -> None:
    """Wait until the parent has set everything up from outside, unless we have already."""
    if not ctx.pid:
        _hear_from_parent(ctx)


def _hear_from_parent(ctx: Progress) -> None:
    ctx.pid = int(ctx.channel.expect().fields[0])


def join_namespaces(ctx: Progress) -> None:
    """Enter the namespaces given by path."""
    namespaces.join(ctx.plan.namespaces)
    for _, fd in ctx.plan.namespaces:
        os.close(fd)


def enter_same_root(ctx: Progress) -> None:
    """Enter the container's root as a folder, if we entered no mount namespace that would lead there."""
    if ctx.plan.keeps_root:
        os.fchdir(ctx.root_fd)
        os.chroot(".")
    assert ctx.root is not None
    ctx.root.close()


def become_mapped_root(ctx: Progress) -> None:
    """In a user namespace, take the ids of its root: our own may not be mapped in it."""
    if ctx.plan.userns:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def enter_cgroup_namespace(ctx: InitProgress) -> None:
    """Make our cgroup the root of a new cgroup namespace: clone3 would have used the parent's cgroup."""
    for namespace in ctx.plan.spec.linux.namespaces:
        if namespace.type == "cgroup" and not namespace.path:
            namespaces.unshare(namespaces.CLONE_NEWCGROUP)


def bring_up_loopback(ctx: InitProgress) -> None:
    """Bring up the loopback of a new network namespace: programs expect that."""
    if ctx.plan.new_netns:
        network.loopback_up()
