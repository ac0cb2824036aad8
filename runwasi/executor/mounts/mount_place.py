"""Opens a mount's destination beneath the root, and sets the mount's attributes.

apply_mounts.py and cgroup_mounts.py use it.
"""

from __future__ import annotations

import os
from errno import EINVAL, ELOOP, ENOTDIR
from stat import S_ISDIR

from runwasi.executor.errors import ContainerError
from runwasi.executor.mounts.mount_options import parse
from runwasi.linux.beneath import RESOLVE_NO_SYMLINKS, make_dirs, make_file, open_beneath
from runwasi.linux.filesystems import PROC_SUPER_MAGIC, filesystem_type
from runwasi.linux.mount_fds import MOUNT_ATTR_RDONLY, mount_setattr, move_mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.mounts.mount_options import MountOptions
    from runwasi.oci.spec import Mount

_PROC_FILES = frozenset(
    "/proc/" + name
    for name in (
        *("cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime"),
        *("sys/crypto/fips_enabled", "sys/kernel/ns_last_pid"),
    )
)
"""Files that tools such as lxcfs replace: nothing in them is used to confine a process. runc allows the same ones."""

_PATH = os.O_PATH | os.O_CLOEXEC


def container_path(path: str) -> str:
    """Return a path of the container, absolute and without dots and doubled slashes."""
    return os.path.normpath("/" + path.lstrip("/"))


class Place:
    """A mount of the spec being made, and the member of $.mounts to name if it fails.

    A destination may also be a path of the host below the rootfs, which runc has always accepted.
    """

    def __init__(self, index: int, mount: Mount, rootfs: str) -> None:
        self.mount = mount
        self.path = container_path(mount.destination)
        if self.path.startswith(f"{rootfs}/"):
            self.path = self.path[len(rootfs) :]
        self.options = parse(mount.options)
        self.member = ""
        self.index = index

    def refuse(self, why: str, errno: int = 0) -> ContainerError:
        """Make the error that names this mount and the member at fault."""
        where = f"$.mounts[{self.index}]" + (f".{self.member}" if self.member else "")
        return ContainerError(f"mount {self.mount.destination}: {why} ({where})", errno=errno)


def open_destination(root_fd: int, place: Place, *, directory: bool, real: bool = False) -> int:
    """Open a mount's destination beneath the root, made where it is missing, as O_PATH.

    With real, no part of the path may be a symbolic link. Raises ContainerError for such a link, and for a
    path in a proc filesystem (CVE-2019-19921); OSError as make_dirs and make_file do.
    """
    if real:
        target = _open_real_directory(root_fd, place)
    elif directory:
        target = make_dirs(root_fd, place.path)
    else:
        target = make_file(root_fd, place.path)
    if not real and filesystem_type(target) == PROC_SUPER_MAGIC and place.path not in _PROC_FILES:
        os.close(target)
        raise place.refuse("destination is inside a proc filesystem")
    return target


_NOT_ORDINARY = "destination is a symbolic link or below one: it must be mounted on ordinary directory"


def _open_real_directory(root_fd: int, place: Place) -> int:
    flags = _PATH | os.O_DIRECTORY
    try:
        try:
            return open_beneath(root_fd, place.path, flags, resolve=RESOLVE_NO_SYMLINKS)
        except FileNotFoundError:
            os.close(make_dirs(root_fd, place.path))
            return open_beneath(root_fd, place.path, flags, resolve=RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno == ELOOP:
            raise place.refuse(_NOT_ORDINARY, ELOOP) from None
        if error.errno == ENOTDIR:
            raise place.refuse("destination is not a directory", ENOTDIR) from None
        raise


def attach(place: Place, tree: int, target: int, *, keep_writable: bool = False) -> None:
    """Set the attributes of a detached mount, and attach it at its destination."""
    place.member = "options"
    set_attributes(place.options, tree, keep_writable=keep_writable)
    place.member = "destination"
    try:
        move_mount(tree, target)
    except OSError as error:
        if error.errno == EINVAL and S_ISDIR(os.fstat(tree).st_mode) != S_ISDIR(os.fstat(target).st_mode):
            raise place.refuse(
                "one of source and destination is a directory, the other is not", EINVAL
            ) from None
        raise


def set_attributes(options: MountOptions, tree: int, *, keep_writable: bool = False) -> None:
    """Set the attributes and the propagation that a mount's options name."""
    kept = MOUNT_ATTR_RDONLY if keep_writable else 0
    if options.rec_set | options.rec_clr:
        mount_setattr(tree, options.rec_set & ~kept, options.rec_clr, recursive=True)
    if options.attr_set | options.attr_clr:
        mount_setattr(tree, options.attr_set & ~kept, options.attr_clr)
    for flag, recursive in options.propagation:
        mount_setattr(tree, propagation=flag, recursive=recursive)
