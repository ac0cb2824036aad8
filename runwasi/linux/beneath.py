"""Resolves paths inside a rootfs that hostile images and processes may change, and uses them by descriptor.

Every function takes a descriptor of the root, and a path as seen by the container. openat2 with RESOLVE_IN_ROOT
treats the root as "/" for absolute symbolic links and "..", so no link leads out, even in a race
(CVE-2021-30465); magic links of /proc are refused.
"""

from __future__ import annotations

import os
from stat import S_ISLNK
from struct import Struct

from runwasi.linux.libc import SYS_OPENAT2, failure
from runwasi.startup.thin_ctypes import CDLL, c_char_p, c_long, get_errno

# linux/openat2.h
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

OPEN_HOW = Struct("=QQQ")  # struct open_how: flags, mode, resolve
_open_how = OPEN_HOW.pack
_EAGAIN, _ELOOP = 11, 40
_PATH = os.O_PATH | os.O_CLOEXEC
_MAX_LINKS = 40  # as many as the kernel follows
_MAX_ATTEMPTS = 1000

# Its own prototype without spare arguments: guests open many files, and converting an argument takes 50 ns.
_openat2 = CDLL(None, use_errno=True).syscall
_openat2.argtypes = (c_long, c_long, c_char_p, c_char_p, c_long)
_openat2.restype = c_long


def open_beneath(root_fd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """Open path with openat2, resolved in the root of root_fd with the additional RESOLVE_* flags of resolve.

    The descriptor is close-on-exec. Raises OSError naming path.
    """
    return openat2(root_fd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve)


def openat2(folder: int, path: str | bytes, flags: int, mode: int, resolve: int) -> int:
    """Open path, which must not contain a NUL, from a folder with the RESOLVE_* flags of resolve.

    The descriptor is close-on-exec. Raises OSError naming path.
    """
    name = path if isinstance(path, bytes) else os.fsencode(path)
    how = _open_how(flags | os.O_CLOEXEC, mode, resolve)
    fd: int = _openat2(SYS_OPENAT2, folder, name, how, len(how))
    attempts = 0
    # EAGAIN: a rename or mount elsewhere raced with ".."; the kernel wants us to try again.
    while fd < 0 and get_errno() == _EAGAIN and attempts < _MAX_ATTEMPTS:
        fd = _openat2(SYS_OPENAT2, folder, name, how, len(how))
        attempts += 1
    if fd < 0:
        raise failure(get_errno(), "open", os.fsdecode(path))
    return fd


def open_in_root(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open path as a process whose root is root_fd would: links and ".." stay inside. Raises OSError."""
    return open_beneath(root_fd, path, flags, mode)


def is_there(root_fd: int, path: str) -> bool:
    """Return whether a path beneath the root exists."""
    try:
        os.close(open_in_root(root_fd, path, os.O_PATH))
    except OSError:
        return False
    return True


def make_dirs(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Open directory path with O_PATH, making missing parts with mode (the umask applies).

    The target of a dangling link on the way is created, inside the root. Raises NotADirectoryError if
    something else is in the way, and the errors of mkdir.
    """
    try:
        return open_beneath(root_fd, path, _PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        made = _make_missing(root_fd, path, mode)
    return open_beneath(root_fd, made, _PATH | os.O_DIRECTORY)


def make_file(root_fd: int, path: str, mode: int = 0o644) -> int:
    """Open path with O_PATH; if it does not exist, make an empty regular file and the directories above it.

    An existing path is opened, even a directory. Raises the errors of mkdir and open.
    """
    try:
        return open_beneath(root_fd, path, _PATH)
    except FileNotFoundError:
        made = _make_missing(root_fd, path, 0o755, file_mode=mode)
    return open_beneath(root_fd, made, _PATH)


def _make_missing(root_fd: int, path: str, mode: int, file_mode: int | None = None) -> str:
    """Make each missing part of path, and return the path without links; with file_mode the last part is a file."""
    pending = _parts_reversed(path)
    made: list[str] = []
    links = 0
    while pending:
        name = pending.pop()
        if name == "..":
            del made[-1:]
            continue
        parent_fd = open_beneath(root_fd, "/".join(made) or ".", _PATH | os.O_DIRECTORY)
        try:
            target = _make_part(parent_fd, name, mode, None if pending else file_mode)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(parent_fd)
        if target is None:
            made.append(name)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(_ELOOP, os.strerror(_ELOOP), path)
        if target.startswith("/"):
            made.clear()
        pending += _parts_reversed(target)
    return "/".join(made) or "."


def _parts_reversed(path: str) -> list[str]:
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _make_part(parent_fd: int, name: str, mode: int, file_mode: int | None) -> str | None:
    """Make name in the directory unless it exists; return its target if it is a symbolic link."""
    try:
        if file_mode is None:
            os.mkdir(name, mode, dir_fd=parent_fd)
        else:
            # O_EXCL: do not write through a link that somebody puts here meanwhile.
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(name, flags, file_mode, dir_fd=parent_fd))
    except FileExistsError:
        if S_ISLNK(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
            return os.readlink(name, dir_fd=parent_fd)
    return None
