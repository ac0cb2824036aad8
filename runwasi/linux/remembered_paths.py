"""Looks up paths without asking a filesystem: only what the kernel remembers of them counts.

A filesystem may hang, like one of a network that is gone. Then whoever opens a file there waits, or even asks for the
status of a folder. A server looks here first, and leaves the rest to another process.
"""

from __future__ import annotations

import os
import stat

from runwasi.linux.beneath import OPEN_HOW
from runwasi.linux.fd import Fd
from runwasi.linux.libc import SYS_OPENAT2, syscall
from runwasi.linux.mounts import statx

_RESOLVE_CACHED = 0x20  # linux/openat2.h, since Linux 5.12
_AT_FDCWD = -100
_STATX_TYPE = 1  # linux/stat.h
_MODE, _DEVICE = 3, 17  # the words of stx_mode, in its upper half, and of stx_dev_major and stx_dev_minor


def real_folder(path: str) -> str | None:
    """Return the path of a folder without symbolic links; None if that is not remembered, or if it is no folder."""
    found = _find(path, os.O_DIRECTORY)
    if found is None:
        return None
    with found:
        name = os.readlink(f"/proc/self/fd/{found.fileno()}")
    return None if name.endswith(" (deleted)") else name


def is_fifo(path: str) -> bool:
    """Return whether a path is remembered to be that of a FIFO."""
    found = _find(path)
    if found is None:
        return False
    with found:
        return stat.S_ISFIFO(statx(found.fileno(), _STATX_TYPE)[_MODE] >> 32)


def is_on_filesystem_of(path: str, folder: str) -> bool:
    """Return whether a path is remembered to be on the filesystem of a folder of ours, which may not be made yet."""
    found = _find(path)
    if found is None:
        return False
    with found:
        device = statx(found.fileno(), _STATX_TYPE)[_DEVICE]
    while (ours := _device(folder)) is None:
        folder = os.path.dirname(folder)
    return os.makedev(device & 0xFFFFFFFF, device >> 32) == ours


def _device(folder: str) -> int | None:
    try:
        return os.stat(folder).st_dev
    except FileNotFoundError:
        return None


def _find(path: str, flags: int = 0) -> Fd | None:
    """Open a path with O_PATH if the kernel remembers it. Source: man 2 openat2, RESOLVE_CACHED."""
    how = OPEN_HOW.pack(flags | os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_CACHED)
    fd = syscall(SYS_OPENAT2, _AT_FDCWD, os.fsencode(path), how, len(how))
    return None if fd < 0 else Fd(fd)
