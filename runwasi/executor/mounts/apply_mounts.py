"""Mounts what $.mounts lists: resolves each destination inside the root, and mounts through descriptors.

A mount is made detached, is given its attributes, and is put onto a destination that was opened beneath the
root: nothing is looked up twice, so a symbolic link swapped in by another container that shares a volume
changes nothing (CVE-2021-30465). An error names the member of $.mounts that is at fault.

Source: runtime-spec config.md#mounts.
"""

from __future__ import annotations

import os
from errno import EBUSY, EINVAL, ENODEV, EPERM
from stat import S_IMODE, S_ISDIR

from runwasi.executor.child.join_namespaces import wait_for_limits
from runwasi.executor.errors import describe
from runwasi.executor.mounts.cgroup_mounts import mount_cgroup
from runwasi.executor.mounts.mount_place import Place, attach, open_destination, set_attributes
from runwasi.executor.protocol import MAP_IDS
from runwasi.linux.beneath import is_there, open_beneath
from runwasi.linux.fd import Fd
from runwasi.linux.filesystems import PROC_SUPER_MAGIC, filesystem_type
from runwasi.linux.mount_fds import (
    FSCONFIG_VALUE_MAX,
    MOUNT_ATTR_RDONLY,
    mount_setattr,
    new_mount,
    open_tree,
    reconfigure,
)
from runwasi.linux.mounts import MS_SHARED, MS_SLAVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.child.progress import InitProgress
    from runwasi.executor.mounts.mount_options import MountOptions
    from runwasi.oci.spec import Mount

_REAL_DIRECTORIES_ONLY = frozenset(("proc", "sysfs"))
"""Filesystems that confinement rests on: no link of the image may choose where they are (CVE-2019-16884)."""

_HOST_COPIES = {"proc": "/proc", "sysfs": "/sys", "mqueue": "/dev/mqueue"}
"""Replacements for a new filesystem that belongs to a namespace which a user namespace does not own."""

_UNLABELLED = frozenset(("proc", "sysfs", "mqueue", "cgroup", "cgroup2"))
"""Filesystems that label their files themselves and know no context option."""

_PATH = os.O_PATH | os.O_CLOEXEC


def mount_all(ctx: InitProgress) -> None:
    """Mount everything of $.mounts in its order."""
    for index, mount in enumerate(ctx.plan.spec.mounts):
        place = Place(index, mount, ctx.plan.rootfs)
        try:
            _mount_one(ctx, place)
        except OSError as error:
            raise place.refuse(describe(error), error.errno or 0) from None


def _mount_one(ctx: InitProgress, place: Place) -> None:
    if place.path == "/":
        place.member = "destination"
        raise place.refuse("the root itself cannot be mounted over")
    kind = place.mount.type or ""
    if place.options.remount:
        _remount(ctx, place)
    elif place.options.bind or kind == "bind":
        _bind(ctx, place)
    elif kind == "cgroup":
        mount_cgroup(ctx, place)
    elif kind:
        _mount_filesystem(ctx, place, kind)
    else:
        place.member = "type"
        raise place.refuse("neither a type nor the option bind or rbind is given")


def _bind(ctx: InitProgress, place: Place) -> None:
    """Copy the source's mount, or the part of it that is the source."""
    place.member = "source"
    tree, opened_by_parent = _open_source(ctx, place)
    try:
        place.member = "destination"
        target = open_destination(ctx.root_fd, place, directory=S_ISDIR(os.fstat(tree).st_mode))
        try:
            _forbid_fake_procfs(place, tree)
            if opened_by_parent or ctx.plan.spec.linux.rootfs_propagation:
                _leave_peer_groups(place.options, tree)
            place.options.drop_source_attributes(userns=ctx.plan.userns)
            attach(place, tree, target)
        finally:
            os.close(target)
    finally:
        os.close(tree)


def _open_source(ctx: InitProgress, place: Place) -> tuple[int, bool]:
    """Return a copy of the source's mount, and whether the parent made it.

    A source in the rootfs may come from an earlier mount, and the image controls its links. So we look it up
    in the root in its present state, where no link leads out.
    """
    source, recursive = source_path(place.mount, ctx.plan.bundle_path), place.options.recursive
    opened = ctx.plan.mount_sources.get(place.index)
    if opened is not None:
        return opened.detach(), True
    inside, mapped = path_in_rootfs(source, ctx.plan.rootfs), is_mapped(place.mount, place.options)
    if not inside:
        if mapped:
            raise place.refuse("mapping the ids of a mount needs privileges that the caller lacks", EPERM)
        return open_tree(source, recursive=recursive), False
    try:
        found = open_beneath(ctx.root_fd, inside, _PATH)
    except OSError as error:
        raise OSError(error.errno, error.strerror, source) from None
    try:
        tree = open_tree("", found, recursive=recursive)
    finally:
        os.close(found)
    if mapped:
        wait_for_limits(ctx)  # the parent's first message is no answer
        ctx.channel.request(MAP_IDS, str(place.index), fds=(tree,))
    return tree, mapped


def path_in_rootfs(source: str, rootfs: str) -> str:
    """Return the path of a source relative to the rootfs, "" if it is elsewhere; do not follow links."""
    if rootfs == "/":  # everything is in it: we cannot tell what belongs to the image
        return ""
    source = os.path.normpath(source)
    return source.removeprefix(rootfs + "/") if source.startswith(rootfs + "/") else ""


def is_mapped(mount: Mount, options: MountOptions) -> bool:
    """Return whether the owners of a mount's files are to be mapped (config.md#posix-platform-mounts)."""
    return options.idmap or bool(mount.uid_mappings)


def source_path(mount: Mount, bundle_path: str) -> str:
    """Return where a bind mount's source is; a relative one starts at the bundle (config.md#mounts)."""
    return os.path.join(bundle_path, mount.source or "")


def _forbid_fake_procfs(place: Place, tree: int) -> None:
    """Refuse to bind anything but a procfs to /proc: programs of the container rely on it for their confinement."""
    if place.path == "/proc" and filesystem_type(tree) != PROC_SUPER_MAGIC:
        raise place.refuse("only a proc filesystem can be mounted here")


def _leave_peer_groups(options: MountOptions, tree: int) -> None:
    """Make a copy of a shared mount of the host a slave, unless the options share it.

    The copy may have been made before our whole tree became a slave, or the tree did not become one.
    """
    if not any(flag == MS_SHARED for flag, _ in options.propagation):
        mount_setattr(tree, propagation=MS_SLAVE, recursive=True)


def _mount_filesystem(ctx: InitProgress, place: Place, kind: str) -> None:
    """Mount a new filesystem, or a copy of the host's if a user namespace may not have a new one."""
    place.member = "destination"
    covers = kind == "tmpfs" and is_there(ctx.root_fd, place.path)
    target = open_destination(ctx.root_fd, place, directory=True, real=kind in _REAL_DIRECTORIES_ONLY)
    try:
        place.member = ""
        data = _filesystem_options(ctx, place, kind, target if covers else None)
        if any(len(os.fsencode(option.partition("=")[2])) > FSCONFIG_VALUE_MAX for option in data):
            _mount_classic(ctx, place, kind, data, target)
            return
        tree = _make_filesystem(ctx, place, kind, data)
        try:
            if place.options.tmpcopyup:
                from runwasi.executor.mounts.copy_up import copy_tree  # late: rare

                copy_tree(target, tree)
            attach(place, tree, target, keep_writable=_filled_later(place, kind))
            if _filled_later(place, kind) and place.options.readonly:
                ctx.readonly_later.append(Fd(os.dup(tree)))
        finally:
            os.close(tree)
    finally:
        os.close(target)


def _filled_later(place: Place, kind: str) -> bool:
    """Return whether it cannot be read-only yet, because mount points or devices must still be made in it."""
    return kind == "tmpfs" or place.path == "/dev"


def _filesystem_options(ctx: InitProgress, place: Place, kind: str, covered: int | None) -> list[str]:
    data = list(place.options.data)
    if covered is not None:
        # A tmpfs has the mode of the directory it covers unless told otherwise, and the kernel's 1777 without one.
        data.insert(0, f"mode={S_IMODE(os.fstat(covered).st_mode):o}")
    label = ctx.plan.spec.linux.mount_label
    if label and kind not in _UNLABELLED:
        data.append(f"context={label}")
    return data


def _make_filesystem(ctx: InitProgress, place: Place, kind: str, data: list[str]) -> int:
    options = place.options
    attributes = options.attr_set | options.rec_set
    if _filled_later(place, kind):
        attributes &= ~MOUNT_ATTR_RDONLY
    try:
        return new_mount(kind, place.mount.source, data, attributes)
    except OSError as error:
        if error.errno == ENODEV:
            place.member = "type"
            raise place.refuse(f"the kernel knows no filesystem {kind}", ENODEV) from None
        if not ctx.plan.userns:
            raise
        return _make_substitute(kind, place, data, error)


def _make_substitute(kind: str, place: Place, data: list[str], error: OSError) -> int:
    """Make the substitute for a filesystem that a user namespace was refused; raise the error if there is none."""
    options = place.options
    if kind == "devpts" and error.errno == EINVAL:
        # gid=5 is the tty group everywhere, but a mapping of a single id lacks it.
        fewer = [option for option in data if not option.startswith("gid=")]
        if len(fewer) < len(data):
            return new_mount(kind, place.mount.source, fewer, options.attr_set | options.rec_set)
    if kind in _HOST_COPIES and error.errno in (EPERM, EBUSY):
        tree = open_tree(_HOST_COPIES[kind], recursive=True)
        mount_setattr(tree, options.attr_set | options.rec_set, recursive=True)
        return tree
    raise error


def _mount_classic(ctx: InitProgress, place: Place, kind: str, data: list[str], target: int) -> None:
    """Mount with mount(2), for options longer than fsconfig takes, such as the layers of an overlay."""
    from runwasi.linux.mounts import mount  # late: hardly ever needed

    mount(place.mount.source or kind, f"/proc/self/fd/{target}", kind, 0, ",".join(data))
    # target still refers to the covered directory; look the new mount's root up from its parent.
    tree = open_beneath(ctx.root_fd, place.path, _PATH)
    try:
        if os.path.samestat(os.fstat(tree), os.fstat(target)):
            raise place.refuse("the destination was changed while it was mounted")
        set_attributes(place.options, tree)
    finally:
        os.close(tree)


def _remount(ctx: InitProgress, place: Place) -> None:
    """Change the attributes, and with data the filesystem's options, of the mount that is there."""
    place.member = "destination"
    tree = open_beneath(ctx.root_fd, place.path, _PATH)
    try:
        place.member = "options"
        set_attributes(place.options, tree)
        if place.options.data and not place.options.bind:
            reconfigure(tree, place.options.data)
    finally:
        os.close(tree)
