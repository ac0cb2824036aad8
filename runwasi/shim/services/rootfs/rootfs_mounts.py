"""Mounts and unmounts the rootfs of a bundle, as containerd's snapshotter describes it.

mount(2) takes its options in one page, too small for an overlay of many layers. Then we name the layers
relative to their common directory; if that is not enough, we pass each layer by its own call (fsconfig, Linux
6.5).
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOENT

from runwasi.executor.errors import ContainerError, describe
from runwasi.linux import mount_fds, mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runwasi.wire.messages.types import Mount

_FLAGS = {
    "ro": mounts.MS_RDONLY,
    "nosuid": mounts.MS_NOSUID,
    "nodev": mounts.MS_NODEV,
    "noexec": mounts.MS_NOEXEC,
    "sync": mounts.MS_SYNCHRONOUS,
    "dirsync": mounts.MS_DIRSYNC,
    "noatime": mounts.MS_NOATIME,
    "nodiratime": mounts.MS_NODIRATIME,
    "relatime": mounts.MS_RELATIME,
    "strictatime": mounts.MS_STRICTATIME,
    "bind": mounts.MS_BIND,
    "rbind": mounts.MS_BIND | mounts.MS_REC,
}
_NOTHING = frozenset(("defaults", "rw", "suid", "dev", "exec", "async", "atime"))
_PAGE = 4096
_ATTRIBUTES = mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
"""Flags that are the same bits as MOUNT_ATTR_*."""


def mount_all(requested: Sequence[Mount], bundle: str) -> None:
    """Make the mounts of a Create call on the bundle's rootfs, all or none, and block. Raises ContainerError."""
    rootfs = f"{bundle}/rootfs"
    os.makedirs(rootfs, 0o711, exist_ok=True)
    try:
        for mount in requested:
            _mount(mount, rootfs)
    except OSError as error:
        unmount_all(bundle)
        raise ContainerError(
            f"failed to mount rootfs component: {describe(error)}",
            step="mount_rootfs",
            errno=error.errno or 0,
        ) from None


def has_mount(bundle: str) -> bool:
    """Return whether something is mounted on a bundle's rootfs, without a call to its filesystem."""
    fds = []
    try:
        fds.append(os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        fds.append(os.open("rootfs", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fds[0]))
        return mounts.mount_id("self", fds[0]) != mounts.mount_id("self", fds[1])
    except FileNotFoundError:
        return False
    finally:
        for fd in fds:
            os.close(fd)


def unmount_all(bundle: str) -> None:
    """Unmount everything on a bundle's rootfs and below; block until done. Raises OSError."""
    while True:
        try:
            mounts.umount(f"{bundle}/rootfs", mounts.MNT_DETACH | mounts.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno in (EINVAL, ENOENT):  # no mount there (any more), or no such directory
                return
            raise


def _mount(mount: Mount, rootfs: str) -> None:
    target = os.path.join(rootfs, mount.target.lstrip("/")) if mount.target else rootfs
    flags, data = _sorted_out(mount.options)
    if any(option.startswith(("uidmap=", "gidmap=")) for option in data):
        _mount_mapped(mount, target, flags, data)
    elif flags & mounts.MS_BIND:
        mounts.mount(mount.source, target, None, flags & (mounts.MS_BIND | mounts.MS_REC))
        if flags & ~(mounts.MS_BIND | mounts.MS_REC):  # the kernel takes a bind's flags in a second call only
            mounts.mount(None, target, None, flags & ~mounts.MS_REC | mounts.MS_REMOUNT)
    else:
        _mount_filesystem(mount, target, flags, data)


def _mount_mapped(mount: Mount, target: str, flags: int, data: list[str]) -> None:
    from runwasi.shim.services.rootfs import rootfs_idmap  # late: pods with a user namespace only

    userns = rootfs_idmap.user_namespace(list(filter(rootfs_idmap.is_mapping, data)))
    rest = [option for option in data if not rootfs_idmap.is_mapping(option)]
    try:
        if flags & mounts.MS_BIND:
            recursive = bool(flags & mounts.MS_REC)
            rootfs_idmap.bind(mount.source, target, userns, flags & _ATTRIBUTES, recursive=recursive)
        else:
            folder = os.path.join(os.path.dirname(os.path.realpath(target)), "mapped-layers")
            rootfs_idmap.with_mapped_layers(
                rest, folder, userns, lambda options: _mount_filesystem(mount, target, flags, options)
            )
    finally:
        os.close(userns)


def _mount_filesystem(mount: Mount, target: str, flags: int, data: list[str]) -> None:
    if len(",".join(data)) < _PAGE:
        mounts.mount(mount.source, target, mount.type, flags, ",".join(data))
    else:
        _mount_long_overlay(mount, target, flags, data)


def _sorted_out(options: Iterable[str]) -> tuple[int, list[str]]:
    """Split the options into flags and the filesystem's own."""
    flags, data = 0, []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option == "loop":
            raise OSError(95, "loop devices are not set up by this runtime", "option loop")
        elif option not in _NOTHING and not option.startswith("X-containerd."):
            data.append(option)
    return flags, data


def _mount_long_overlay(mount: Mount, target: str, flags: int, data: list[str]) -> None:
    layers = next((option for option in data if option.startswith("lowerdir=")), "")[
        len("lowerdir=") :
    ].split(":")
    common = os.path.commonpath(layers) if all(map(os.path.isabs, layers)) else "/"
    shorter = [
        "lowerdir=" + ":".join(os.path.relpath(layer, common) for layer in layers)
        if option.startswith("lowerdir=")
        else option
        for option in data
    ]
    back = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(common)
        if len(",".join(shorter)) < _PAGE:
            mounts.mount(mount.source, target, mount.type, flags, ",".join(shorter))
        else:
            _mount_layer_by_layer(mount, target, flags, shorter)
    finally:
        os.fchdir(back)
        os.close(back)


def _mount_layer_by_layer(mount: Mount, target: str, flags: int, data: list[str]) -> None:
    options: list[str] = []
    for option in data:
        name, _, value = option.partition("=")
        if name == "lowerdir":
            options += [f"lowerdir+={layer}" for layer in value.split(":")]
        else:
            options.append(option)
    tree = mount_fds.new_mount(mount.type, mount.source, options, flags & _ATTRIBUTES)
    try:
        mount_fds.move_mount_to(tree, target)
    finally:
        os.close(tree)
