"""Implements the mount option tmpcopyup: fills a new tmpfs with the content of the image's directory below it.

It uses descriptors and follows no links, because the image controls the content.
"""

from __future__ import annotations

import os
from errno import EAGAIN, ELOOP, ENOTSUP, EPERM
from stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG

from runwasi.linux.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 1 << 24
_MAX_DEPTH = 200
"""Nested folders that are copied: each keeps four descriptors open."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_tree(source: int, destination: int, depth: int = 0) -> None:
    """Copy the content of directory source to destination, with owners, modes, times and xattrs.

    Raises OSError.
    """
    if depth > _MAX_DEPTH:
        raise OSError(ELOOP, f"folders to copy are nested more than {_MAX_DEPTH} deep")
    here = os.open(".", _DIRECTORY, dir_fd=source)
    there = os.open(".", _DIRECTORY, dir_fd=destination)
    try:
        for name in os.listdir(here):
            _copy_entry(here, there, name, depth)
        _copy_metadata(here, there)
    finally:
        os.close(here)
        os.close(there)


def _copy_entry(here: int, there: int, name: str, depth: int) -> None:
    status = os.stat(name, dir_fd=here, follow_symlinks=False)
    if S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=here), name, dir_fd=there)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=there, follow_symlinks=False)
    elif S_ISDIR(status.st_mode):
        os.mkdir(name, 0o700, dir_fd=there)
        folder = os.open(name, _DIRECTORY, dir_fd=here)
        _copy_opened(folder, there, name, _DIRECTORY, lambda one, other: copy_tree(one, other, depth + 1))
    elif S_ISREG(status.st_mode):
        new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        _copy_opened(_open_file(here, name), there, name, new, _copy_file)
    else:
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=there)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=there, follow_symlinks=False)


def _open_file(folder: int, name: str) -> int:
    """Open a regular file to read. Raises OSError.

    Somebody may have put a FIFO or a device in its place since we looked, and those do things when they are opened.
    """
    with Fd(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)) as found:
        if not S_ISREG(os.fstat(found.fileno()).st_mode):
            raise OSError(EAGAIN, "it was changed while it was copied", name)
        return os.open(f"/proc/self/fd/{found.fileno()}", os.O_RDONLY | os.O_CLOEXEC)


def _copy_opened(source: int, there: int, name: str, flags: int, copy: Callable[[int, int], None]) -> None:
    try:
        destination = os.open(name, flags, 0o600, dir_fd=there)
        try:
            copy(source, destination)
        finally:
            os.close(destination)
    finally:
        os.close(source)


def _copy_file(source: int, destination: int) -> None:
    while os.sendfile(destination, source, None, _CHUNK):  # None: from where it stands
        pass
    _copy_metadata(source, destination)


def _copy_metadata(source: int, destination: int) -> None:
    status = os.fstat(source)
    for name in os.listxattr(source):
        try:
            os.setxattr(destination, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (ENOTSUP, EPERM):  # a name that tmpfs, or a user namespace, does not have
                raise
    os.fchown(destination, status.st_uid, status.st_gid)
    os.fchmod(destination, S_IMODE(status.st_mode))
    os.utime(destination, ns=(status.st_atime_ns, status.st_mtime_ns))
