"""Mounts by descriptor: makes a detached mount, sets its attributes, attaches it, without a path to race for.

A detached mount is invisible, so it never appears writable, setuid or unmapped before its attributes are set.
The calls need Linux 5.2 (open_tree, fsopen, move_mount) and 5.12 (mount_setattr).
"""

from __future__ import annotations

import os
from errno import EINVAL

from runwasi.linux.libc import (
    SYS_FSCONFIG,
    SYS_FSMOUNT,
    SYS_FSOPEN,
    SYS_FSPICK,
    SYS_MOUNT_SETATTR,
    SYS_MOVE_MOUNT,
    SYS_OPEN_TREE,
    check,
    failure,
    syscall,
)
from runwasi.startup.thin_ctypes import c_uint64, get_errno, sizeof

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# linux/mount.h
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

_OPEN_TREE_CLONE = 1
FSOPEN_CLOEXEC = 1
_FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE, _FSCONFIG_CMD_RECONFIGURE = 0, 1, 6, 7
_FSPICK_CLOEXEC, _FSPICK_EMPTY_PATH = 1, 8
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x40
_AT_RECURSIVE, _AT_EMPTY_PATH = 0x8000, 0x1000  # linux/fcntl.h
_CLOEXEC = os.O_CLOEXEC

FSCONFIG_VALUE_MAX = 255
"""The most bytes of an option's value in fsconfig; mount(2) takes a page for all options together."""

MountAttr = c_uint64 * 4  # struct mount_attr: attr_set, attr_clr, propagation, userns_fd


def open_tree(path: str, dir_fd: int = -100, *, recursive: bool = False) -> int:
    """Copy the mount at path to a detached one, as a bind mount does; with recursive those below it too.

    An empty path copies the mount of descriptor dir_fd itself. Raises OSError naming path.
    """
    flags = (
        _OPEN_TREE_CLONE | _CLOEXEC | (_AT_RECURSIVE if recursive else 0) | (0 if path else _AT_EMPTY_PATH)
    )
    return check(syscall(SYS_OPEN_TREE, dir_fd, os.fsencode(path), flags), "open_tree", path or dir_fd)


def new_mount(fstype: str, source: str | None, options: Iterable[str] = (), attributes: int = 0) -> int:
    """Make a detached mount of a new fstype filesystem, and return its O_PATH descriptor.

    options are the filesystem's own, each "key" or "key=value" (double quotes around a value are removed),
    attributes are MOUNT_ATTR_*. Raises OSError, with the kernel's own message if there is one.
    """
    context = check(syscall(SYS_FSOPEN, os.fsencode(fstype), FSOPEN_CLOEXEC), "fsopen", fstype)
    return mount_from(context, fstype, source, options, attributes)


def mount_from(
    context: int, fstype: str, source: str | None, options: Iterable[str] = (), attributes: int = 0
) -> int:
    """Make a mount as new_mount does from a context of fsopen, and close that. Raises OSError as new_mount does."""
    try:
        if source:
            _configure(context, "source", source)
        _configure_all(context, options)
        if syscall(SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0) == -1:
            raise _complaint(context, f"create {fstype}")
        return check(syscall(SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes), "fsmount", fstype)
    finally:
        os.close(context)


def reconfigure(fd: int, options: Iterable[str]) -> None:
    """Change options of the filesystem whose mount has the root fd; the mounts' own options stay.

    Raises OSError as new_mount does.
    """
    flags = _FSPICK_CLOEXEC | _FSPICK_EMPTY_PATH
    context = check(syscall(SYS_FSPICK, fd, b"", flags), "fspick", fd)
    try:
        _configure_all(context, options)
        if syscall(SYS_FSCONFIG, context, _FSCONFIG_CMD_RECONFIGURE, None, None, 0) == -1:
            raise _complaint(context, "reconfigure")
    finally:
        os.close(context)


def _configure_all(context: int, options: Iterable[str]) -> None:
    for option in options:
        key, equals, value = option.partition("=")
        _configure(context, key, value.strip('"') if equals else None)


def _configure(context: int, key: str, value: str | None) -> None:
    name = os.fsencode(key)
    if value is None:
        result = syscall(SYS_FSCONFIG, context, _FSCONFIG_SET_FLAG, name, None, 0)
    else:
        result = syscall(SYS_FSCONFIG, context, _FSCONFIG_SET_STRING, name, os.fsencode(value), 0)
    if result == -1:
        raise _complaint(context, f"set option {key}")


def _complaint(context: int, attempt: str) -> OSError:
    """Make the OSError for a failed fsconfig, with the filesystem's message from its context's log."""
    error = failure(get_errno(), attempt)
    try:
        message = os.read(context, 1024).decode(errors="replace")
    except OSError:  # ENODATA: there is no message
        return error
    # "e tmpfs: Bad value for 'size'": the first letter is the severity.
    return OSError(error.errno, message.strip()[2:], attempt)


def move_mount(mount_fd: int, target_fd: int) -> None:
    """Move the mount of mount_fd, detached or not, onto target_fd. Raises OSError."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    check(syscall(SYS_MOVE_MOUNT, mount_fd, b"", target_fd, b"", flags), "move_mount")


def move_mount_to(mount_fd: int, target: str) -> None:
    """Move the mount of mount_fd onto a path of the host. Raises OSError."""
    target_fd = os.open(target, os.O_PATH | os.O_CLOEXEC)
    try:
        move_mount(mount_fd, target_fd)
    finally:
        os.close(target_fd)


def mount_setattr(
    fd: int,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int | None = None,
    *,
    recursive: bool = False,
) -> None:
    """Change attributes of the mount with the root fd; those in neither mask stay.

    propagation is MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, or 0 to keep it. With MOUNT_ATTR_IDMAP in
    attr_set, which a mount accepts once, while it is detached, userns_fd is the user namespace that maps it.
    Raises OSError, EPERM if a user namespace locks the attribute.
    """
    if attr_set & MOUNT_ATTR__ATIME:
        attr_clr |= MOUNT_ATTR__ATIME  # an enumeration, not flags: replaced as a whole
    attributes = MountAttr(attr_set, attr_clr, propagation, userns_fd or 0)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    result = syscall(SYS_MOUNT_SETATTR, fd, b"", flags, attributes, sizeof(attributes))
    check(result, "mount_setattr", f"set {attr_set:#x} clear {attr_clr:#x}")


def map_owners(fd: int, userns_fd: int, attr_set: int = 0, *, recursive: bool = False) -> None:
    """Map the owners of files in the detached mount with the root fd through a user namespace.

    attr_set are further attributes. Raises OSError: EINVAL if its filesystem supports no mapping on this kernel
    (tmpfs does since Linux 6.3, overlay since 5.19), or has one. Source: man 2 mount_setattr.
    """
    try:
        mount_setattr(fd, attr_set | MOUNT_ATTR_IDMAP, userns_fd=userns_fd, recursive=recursive)
    except OSError as error:
        if error.errno == EINVAL:
            error.strerror = "the filesystem does not support id mappings on this kernel"
        raise
