"""Fills the container's /dev: default devices, those of $.linux.devices, and the usual links.

Source: runtime-spec config-linux.md#default-devices and #devices, runtime-linux.md#dev-symbolic-links.
"""

from __future__ import annotations

import os
from errno import EEXIST, EPERM
from stat import S_IFBLK, S_IFCHR, S_IFIFO, S_IFMT, S_ISCHR

from runwasi.executor.child.join_namespaces import wait_for_limits
from runwasi.executor.errors import ContainerError, describe
from runwasi.executor.mounts.mount_place import container_path
from runwasi.linux.beneath import is_there, make_dirs, make_file, open_beneath
from runwasi.linux.fd import Fd
from runwasi.linux.filesystems import DEVPTS_SUPER_MAGIC, filesystem_type
from runwasi.linux.mount_fds import (
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    mount_setattr,
    move_mount,
    open_tree,
)
from runwasi.linux.mounts import mount_id_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.child.progress import InitProgress

_PATH = os.O_PATH | os.O_CLOEXEC
_DEFAULT_MODE = 0o666

_DEFAULT_DEVICES = (
    ("null", os.makedev(1, 3)),
    ("zero", os.makedev(1, 5)),
    ("full", os.makedev(1, 7)),
    ("random", os.makedev(1, 8)),
    ("urandom", os.makedev(1, 9)),
    ("tty", os.makedev(5, 0)),
)

_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
)

_TYPES = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}


class Node:
    """A device node to make: its path in the container, its type with mode, its number and owners."""

    def __init__(self, path: str, mode: int, rdev: int, uid: int = 0, gid: int = 0) -> None:
        self.path = path
        self.mode = mode
        self.rdev = rdev
        self.uid = uid
        self.gid = gid

    def matches(self, status: os.stat_result) -> bool:
        """Return whether a status describes this device."""
        return S_IFMT(status.st_mode) == S_IFMT(self.mode) and status.st_rdev == self.rdev


def make_devices(ctx: InitProgress) -> None:
    """Make the device nodes and links of /dev, and those that $.linux.devices adds.

    A /dev bound from the host belongs to the host: we make only the devices there that the spec names.
    """
    umask = os.umask(0)  # modes are exactly the spec's
    try:
        _make_defaults(ctx)
        _make_named(ctx)
    finally:
        os.umask(umask)


def _make_defaults(ctx: InitProgress) -> None:
    named = {container_path(device.path) for device in ctx.plan.spec.linux.devices}
    try:
        dev = make_dirs(ctx.root_fd, "dev")
    except OSError as error:
        raise ContainerError(
            f"cannot make /dev in the rootfs: {describe(error)}", errno=error.errno or 0
        ) from None
    try:
        if _is_bound(ctx, dev):
            return
        for name, rdev in _DEFAULT_DEVICES:
            if f"/dev/{name}" not in named:
                _make_default(ctx, dev, name, rdev)
        for name, leads_to in _LINKS:
            _make_link(dev, name, leads_to)
        if os.path.exists("/proc/kcore"):
            _make_link(dev, "core", "/proc/kcore")
        if is_there(ctx.root_fd, "dev/pts/ptmx"):
            _make_ptmx(dev)
    except OSError as error:
        raise ContainerError(f"cannot fill /dev: {describe(error)}", errno=error.errno or 0) from None
    finally:
        os.close(dev)


def _is_bound(ctx: InitProgress, dev: int) -> bool:
    """Return whether /dev is on a bind mount of the spec, even by way of links in the image."""
    own = mount_id_of(dev)
    if own == mount_id_of(ctx.root_fd):
        return False
    for mount in ctx.plan.spec.mounts:
        if mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options:
            try:
                bound = Fd(open_beneath(ctx.root_fd, container_path(mount.destination), _PATH))
            except OSError:
                continue  # another mount hides it
            with bound:
                if mount_id_of(bound.fileno()) == own:
                    return True
    return False


def _make_default(ctx: InitProgress, dev: int, name: str, rdev: int) -> None:
    node = Node(f"/dev/{name}", S_IFCHR | _DEFAULT_MODE, rdev)
    if ctx.plan.userns and _is_mount_point(dev, name):
        return
    try:
        _make_node(ctx, dev, name, node)
    except FileExistsError:
        if _is_mount_point(dev, name):  # the spec's choice, such as /dev/urandom at /dev/random
            return
        # An exported image has ordinary files here, because whoever packed it could not pack devices.
        os.unlink(name, dir_fd=dev)
        _make_node(ctx, dev, name, node)


def _is_mount_point(folder: int, name: str) -> bool:
    """Return whether something is mounted at a name in a folder."""
    try:
        found = Fd(os.open(name, _PATH | os.O_NOFOLLOW, dir_fd=folder))
    except FileNotFoundError:
        return False
    with found:
        return mount_id_of(found.fileno()) != mount_id_of(folder)


def _make_named(ctx: InitProgress) -> None:
    for index, device in enumerate(ctx.plan.spec.linux.devices):
        mode = _TYPES[device.type] | (_DEFAULT_MODE if device.file_mode is None else device.file_mode)
        rdev = 0 if device.type == "p" else os.makedev(device.major or 0, device.minor or 0)
        node = Node(container_path(device.path), mode, rdev, device.uid or 0, device.gid or 0)
        if node.path == "/dev/ptmx":
            # A privileged pod lists all devices of the host; this one must lead to the container's own devpts.
            continue
        folder, name = os.path.split(node.path)
        try:
            parent = make_dirs(ctx.root_fd, folder)
            try:
                _make_node(ctx, parent, name, node)
            finally:
                os.close(parent)
        except OSError as error:
            raise ContainerError(
                f"device {device.path}: {describe(error)} ($.linux.devices[{index}])", errno=error.errno or 0
            ) from None


def _make_node(ctx: InitProgress, parent: int, name: str, node: Node) -> None:
    """Make a device node, or where none can be made, mount the host's in its place.

    Raises FileExistsError when something else is there (config-linux.md#devices: "MUST generate an error").
    """
    if ctx.plan.userns:
        _bind_node(parent, name, node)
        return
    try:
        os.mknod(name, node.mode, node.rdev, dir_fd=parent)
    except FileExistsError:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not node.matches(status):
            raise FileExistsError(EEXIST, "something else is there", node.path) from None
        return
    except PermissionError:
        if not ctx.pid:  # cgroup version 1 refuses every device for a moment, while the parent sets the rules
            wait_for_limits(ctx)
            _make_node(ctx, parent, name, node)
        else:  # we are in a container ourselves
            _bind_node(parent, name, node)
        return
    if node.uid or node.gid:
        os.chown(name, node.uid, node.gid, dir_fd=parent, follow_symlinks=False)


def _bind_node(parent: int, name: str, node: Node) -> None:
    """Bind the host's node at the same path, after verifying that it is that device (CVE-2025-31133)."""
    if S_IFMT(node.mode) == S_IFIFO:
        os.mkfifo(name, node.mode & 0o777, dir_fd=parent)
        return
    with Fd(os.open(node.path, _PATH)) as host:
        if not node.matches(os.fstat(host.fileno())):
            raise OSError(
                EPERM, "the host has another device there, and making one is not permitted", node.path
            )
        tree = Fd(open_tree("", host.fileno()))
    with tree:
        # This is a mount of the host's /dev, and its attributes may differ from a container's.
        mount_setattr(tree.fileno(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
        with Fd(make_file(parent, name)) as target:
            move_mount(tree.fileno(), target.fileno())


def _make_link(dev: int, name: str, leads_to: str) -> None:
    """Make a symbolic link unless the image or a mount has something there."""
    try:
        os.symlink(leads_to, name, dir_fd=dev)
    except FileExistsError:
        return


def _make_ptmx(dev: int) -> None:
    """Link /dev/ptmx to the container's own devpts (runtime-linux.md)."""
    try:
        os.unlink("ptmx", dir_fd=dev)
    except FileNotFoundError:
        pass
    os.symlink("pts/ptmx", "ptmx", dir_fd=dev)


def bind_console(terminal: int) -> None:
    """Mount the terminal of a descriptor onto /dev/console of the root that we are in.

    Raises ContainerError when it is no pty of a devpts, so that nothing else is ever bound (CVE-2025-52565).
    """
    if not S_ISCHR(os.fstat(terminal).st_mode) or filesystem_type(terminal) != DEVPTS_SUPER_MAGIC:
        raise ContainerError("cannot bind /dev/console: the terminal is not a pty")
    with Fd(os.open("/", _PATH | os.O_DIRECTORY)) as root:
        target = Fd(make_file(root.fileno(), "dev/console", 0o620))
    with target, Fd(open_tree("", terminal)) as tree:
        move_mount(tree.fileno(), target.fileno())
