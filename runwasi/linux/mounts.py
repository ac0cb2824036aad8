"""Mounts and unmounts by path, changes the root, and reads the mount table."""

from __future__ import annotations

import os
from errno import ESTALE

from runwasi.linux.beneath import RESOLVE_NO_SYMLINKS, openat2
from runwasi.linux.libc import SYS_PIVOT_ROOT, SYS_STATX, check, libc, syscall
from runwasi.startup.thin_ctypes import c_uint64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import Array

# linux/mount.h, sys/mount.h
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_SYNCHRONOUS = 16
MS_REMOUNT = 32
MS_DIRSYNC = 128
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_AT_EMPTY_PATH, _AT_STATX_DONT_SYNC = 0x1000, 0x4000  # linux/fcntl.h
_AT_FDCWD = -100
_STATX_MNT_ID = 0x1000  # linux/stat.h, since Linux 5.8
Statx = c_uint64 * 32  # struct statx
MNT_ID = 18  # the word of stx_mnt_id


def mount(
    source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str | None = None
) -> None:
    """Mount source at target, or change the mount there (MS_REMOUNT, MS_BIND, MS_MOVE, MS_PRIVATE ...).

    Raises OSError naming target. Source: man 2 mount.
    """
    result = libc.mount(_bytes(source), os.fsencode(target), _bytes(fstype), flags, _bytes(data))
    check(result, "mount", target)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def umount(target: str, flags: int = 0) -> None:
    """Unmount target; MNT_DETACH hides it at once, and frees it after its last user."""
    check(libc.umount2(os.fsencode(target), flags), "umount2", target)


def pivot_root(new_root: str | int) -> None:
    """Make the mount new_root, a path or descriptor, the root of this namespace, and drop the old one.

    Stacking the old root onto the new one needs no directory inside the image, which may be read-only; see
    man 2 pivot_root, "pivot_root(".", ".")". Neither the mount nor its parent may be shared. Afterwards the
    working directory is the new root. Raises OSError.
    """
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(new_root)
        check(syscall(SYS_PIVOT_ROOT, b".", b"."), "pivot_root", new_root)
        # The old root now covers the new one. Make it a slave, so that its unmounting does not propagate to
        # the host through a shared mount.
        os.fchdir(old)
        mount(None, ".", None, MS_SLAVE | MS_REC)
        umount(".", MNT_DETACH)
        os.chdir("/")
    finally:
        os.close(old)


def move_root(new_root: str | int) -> None:
    """Move the mount new_root over /, and chroot into it: for a root that pivot_root refuses, such as initramfs.

    The old root stays mounted below, out of reach of paths. Raises OSError.
    """
    os.chdir(new_root)
    mount(".", "/", None, MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def mounted_below(path: str) -> list[str]:
    """Return the mount points at path and below it, the deepest and latest first: the order to unmount in.

    path must be absolute and free of symbolic links. Reads the whole mount table: too slow for a start.
    """
    return list(mounts_below(path).values())


def mounts_below(path: str) -> dict[int, str]:
    """Return the same mount points by mount id."""
    wanted = path.rstrip("/")
    return {
        number: point
        for number, point in reversed(mounts_of("self").items())
        if point == wanted or point.startswith(wanted + "/")
    }


def detach_mount(number: int, point: str) -> None:
    """Unmount the mount of that id at its mount point, as with MNT_DETACH, and no other mount.

    Raises OSError, ESTALE if its path has changed meanwhile and now leads to something else.
    """
    fd = openat2(_AT_FDCWD, point, os.O_PATH, 0, RESOLVE_NO_SYMLINKS)
    try:
        if mount_id_of(fd) != number:
            raise OSError(ESTALE, "another mount is there now", point)
        umount(f"/proc/self/fd/{fd}", MNT_DETACH)
    finally:
        os.close(fd)


def mount_points() -> list[str]:
    """Return all mount points of this namespace that we see, in the order of mounting."""
    return list(mounts_of("self").values())


def mounts_of(pid: int | str) -> dict[int, str]:
    """Return the mount points that a process sees, by mount id, in the order of mounting.

    Source: man 5 proc, /proc/[pid]/mountinfo.
    """
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        fields = [line.split(b" ", 5) for line in file]
    return {int(line[0]): os.fsdecode(_unescape(line[4])) for line in fields}


class Mounted:
    """An attached mount: its mount point, and the id of the mount below (parent)."""

    __slots__ = ("_filesystem", "_options", "_root", "fstype", "id", "parent", "point")

    def __init__(self, line: bytes) -> None:
        own, self._filesystem = line.split(b" - ", 1)
        number, parent, _, self._root, point, self._options = own.split(b" ", 5)
        self.id = int(number)
        self.parent = int(parent)
        self.point = os.fsdecode(_unescape(point))
        self.fstype = self._filesystem.partition(b" ")[0].decode()

    @property
    def root(self) -> str:
        """The path in its filesystem that is mounted."""
        return os.fsdecode(_unescape(self._root))

    @property
    def options(self) -> list[str]:
        """The options of its filesystem, not those of the mount."""
        return os.fsdecode(self._filesystem.split()[-1]).split(",")

    @property
    def readonly(self) -> bool:
        """Return whether the mount is read-only."""
        return b"ro" in self._options.partition(b" ")[0].split(b",") or "ro" in self.options


def mount_table(proc_fd: int) -> list[Mounted]:
    """Return the mounts that this process can reach, from the procfs proc_fd. Source: man 5 proc."""
    fd = os.open("self/mountinfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
    with open(fd, "rb") as file:
        return [Mounted(line) for line in file]


def mount_id(pid: int | str, fd: int) -> int:
    """Return the id of the mount that a process's open descriptor is on. Raises OSError if it is not open."""
    with open(f"/proc/{pid}/fdinfo/{fd}", "rb", 0) as file:
        return next(
            int(line.split()[1]) for line in file.read(4096).splitlines() if line.startswith(b"mnt_id:")
        )


def mount_id_of(fd: int) -> int:
    """Return the id of the mount that our descriptor is on, as in the mount table. Source: man 2 statx."""
    return int(statx(fd, _STATX_MNT_ID)[MNT_ID])


def statx(fd: int, wanted: int) -> Array[c_uint64]:
    """Return the words of struct statx of our descriptor, as the kernel remembers them: the filesystem may hang.

    wanted is a mask of STATX_ constants. Raises OSError. Source: man 2 statx, AT_STATX_DONT_SYNC.
    """
    status = Statx()
    check(syscall(SYS_STATX, fd, b"", _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, wanted, status), "statx", fd)
    return status


def _unescape(field: bytes) -> bytes:
    """Undo the octal escapes that the kernel writes for blanks and backslashes."""
    if b"\\" not in field:
        return field
    first, *rest = field.split(b"\\")
    return first + b"".join(bytes((int(part[:3], 8),)) + part[3:] for part in rest)
