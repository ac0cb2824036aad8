"""Enters the container's root: mounts a copy of the rootfs, makes it "/", and drops the old root.

createContainer hooks look for the root at the rootfs's own path, so it is mounted there. Everything else is
mounted into it (executor/mounts). Then it becomes "/".
"""

from __future__ import annotations

import os

from runwasi.executor.errors import ContainerError
from runwasi.executor.mounts.apply_mounts import mount_all
from runwasi.executor.plan.process_plan import ROOT_SOURCE
from runwasi.linux.fd import Fd
from runwasi.linux.filesystems import PROC_SUPER_MAGIC, SYSFS_MAGIC, filesystem_type
from runwasi.linux.labels import selinux_enabled
from runwasi.linux.mount_fds import mount_setattr, move_mount, open_tree
from runwasi.linux.mounts import (
    MNT_DETACH,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    mount,
    mount_points,
    move_root,
    pivot_root,
    umount,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.child.progress import InitProgress

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PROPAGATION = {"shared": MS_SHARED, "slave": MS_SLAVE, "private": MS_PRIVATE, "unbindable": MS_UNBINDABLE}


def mount_rootfs(ctx: InitProgress) -> None:
    """Mount the rootfs and everything of $.mounts into it; sets root_fd.

    Source: runtime-spec config.md#root and #mounts, config-linux.md#rootfs-mount-propagation.
    """
    # Our caller's umask must not change the modes of files that we make in the rootfs.
    os.umask(0o022)
    _require_selinux_for_labels(ctx)
    if ctx.plan.spec.linux.has("mount"):
        _separate_from_host(ctx)
        ctx.root = _attach_root(ctx)
    else:
        _refuse_without_mount_namespace(ctx)
        # A read-only root gets its own mount, so that the rootfs on the host stays writable.
        readonly = ctx.plan.spec.root.readonly
        ctx.root = _attach_root(ctx) if readonly else Fd(os.open(ctx.plan.rootfs, _DIRECTORY))
    mount_all(ctx)


def _require_selinux_for_labels(ctx: InitProgress) -> None:
    if ctx.plan.spec.linux.mount_label and not selinux_enabled(ctx.plan.proc.fileno()):
        raise ContainerError("SELinux is not enabled in the kernel ($.linux.mountLabel)")


def _refuse_without_mount_namespace(ctx: InitProgress) -> None:
    linux = ctx.plan.spec.linux
    for member, wanted in (
        ("$.linux.maskedPaths", linux.masked_paths),
        ("$.linux.readonlyPaths", linux.readonly_paths),
        ("$.linux.rootfsPropagation", linux.rootfs_propagation),
    ):
        if wanted:
            raise ContainerError(f"cannot change the host's mounts: a mount namespace is needed ({member})")


def _separate_from_host(ctx: InitProgress) -> None:
    """Stop the mounts of our namespace from reaching the host's.

    With a shared root (mount option rshared), they stay in their peer groups. Only the mount that the root is
    attached to must not be shared, because pivot_root would refuse it.
    """
    propagation = _root_propagation(ctx)
    if propagation == MS_SHARED:
        parent = _mount_point_above(ctx.plan.rootfs)
        mount(None, parent, None, MS_PRIVATE)
    elif propagation in (0, MS_SLAVE):
        mount(None, "/", None, MS_SLAVE | MS_REC)
    else:
        mount(None, "/", None, MS_PRIVATE | MS_REC)


def _root_propagation(ctx: InitProgress) -> int:
    """Return the MS_* flag of rootfsPropagation, 0 if it is not set; the r forms also cover the mounts below."""
    word = ctx.plan.spec.linux.rootfs_propagation or ""
    return _PROPAGATION.get(word, 0) or _PROPAGATION.get(word[1:], 0)


def _mount_point_above(path: str) -> str:
    """Return the mount point that path is on."""
    real = os.path.realpath(path)
    points = [point for point in mount_points() if (real + "/").startswith(point.rstrip("/") + "/")]
    return max(points, key=len)


def _attach_root(ctx: InitProgress) -> Fd:
    """Mount a copy of the rootfs's mount, and those below it, onto the rootfs; return its descriptor."""
    root = ctx.plan.mount_sources.get(ROOT_SOURCE) or Fd(open_tree(ctx.plan.rootfs, recursive=True))
    # It may have come from a shared mount. As a slave it still sees what the host mounts there, but what is
    # mounted into it stays in the container.
    mount_setattr(root.fileno(), propagation=MS_SLAVE, recursive=True)
    target = _open_place_for_root(ctx)
    try:
        move_mount(root.fileno(), target)
    finally:
        os.close(target)
    return root


def _open_place_for_root(ctx: InitProgress) -> int:
    try:
        return os.open(ctx.plan.rootfs, _DIRECTORY)
    except PermissionError:
        # A user namespace's root may not reach the rootfs's path. Over "/", any mount can be pivoted to.
        if not ctx.plan.userns:
            raise
        return os.open("/", _DIRECTORY)


def enter_root(ctx: InitProgress) -> None:
    """Make the mounted root "/", drop the host's root, then set the root's propagation."""
    if not ctx.plan.spec.linux.has("mount"):
        os.chdir(ctx.root_fd)
        os.chroot(".")
        os.chdir("/")
        return
    if ctx.plan.no_pivot:
        _drop_kernel_filesystems(ctx)
        move_root(ctx.root_fd)
    else:
        pivot_root(ctx.root_fd)
    propagation = _root_propagation(ctx)
    if propagation:
        # After the pivot, which refuses a shared root.
        recursive = ctx.plan.spec.linux.rootfs_propagation not in _PROPAGATION
        mount_setattr(ctx.root_fd, propagation=propagation, recursive=recursive)


def _drop_kernel_filesystems(ctx: InitProgress) -> None:
    """Unmount or cover the host's proc and sysfs: a moved root would leave them mounted below it.

    A user namespace may mount a new proc or sysfs only if it can see an unmasked one (mount_too_revealing in
    fs/namespace.c). The host's would count as that one.
    """
    kept = os.path.realpath(ctx.plan.rootfs)
    for point in reversed(mount_points()):
        if point == "/" or (point + "/").startswith(kept + "/") or not _shows_the_kernel(point):
            continue
        try:
            umount(point, MNT_DETACH)
        except OSError:  # locked by a user namespace
            mount("tmpfs", point, "tmpfs")


def _shows_the_kernel(point: str) -> bool:
    try:
        fd = os.open(point, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # covered by another mount
        return False
    try:
        return filesystem_type(fd) in (PROC_SUPER_MAGIC, SYSFS_MAGIC)
    except OSError:  # a FUSE filesystem whose server is gone (ENOTCONN): it is neither proc nor sysfs
        return False
    finally:
        os.close(fd)
