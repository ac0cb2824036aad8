"""Identifies the filesystem that a descriptor is on, to verify procfs and devpts before we trust them."""

from __future__ import annotations

import os
from errno import ENODEV

from runwasi.linux.libc import check, libc
from runwasi.startup.thin_ctypes import c_long

# linux/magic.h
DEVPTS_SUPER_MAGIC = 0x1CD1
PROC_SUPER_MAGIC = 0x9FA0
RDTGROUP_SUPER_MAGIC = 0x7655821
SYSFS_MAGIC = 0x62656572

_Statfs = c_long * 15  # struct statfs; its first word is f_type


def filesystem_type(fd: int) -> int:
    """Return the magic number of the filesystem that descriptor fd is on. Source: man 2 fstatfs."""
    status = _Statfs()
    check(libc.fstatfs(fd, status), "fstatfs", fd)
    return int(status[0])


def open_procfs(path: str = "/proc") -> int:
    """Open the procfs mounted at path as a close-on-exec O_PATH descriptor to look files up from.

    Raises OSError, ENODEV if something else is mounted there.
    """
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if filesystem_type(fd) != PROC_SUPER_MAGIC:
        os.close(fd)
        raise OSError(ENODEV, "is not a proc filesystem", path)
    return fd
