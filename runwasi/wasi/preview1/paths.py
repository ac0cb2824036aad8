"""The functions path_*: operations by name, never outside the folder that the name starts in.

A name of one part that is not followed needs no resolving: the kernel gets it with the folder's descriptor.
`Folder.open` resolves any other, either whole or all but its last part.
"""

from __future__ import annotations

import errno
import os
import stat

from runwasi.wasi.filesystem.confinement import BENEATH, open_confined
from runwasi.wasi.preview1 import abi
from runwasi.wasi.preview1.abi import BADF, INVAL, NOTDIR, PERM, SUCCESS, SYMLINK_FOLLOW, Errno
from runwasi.wasi.preview1.files import put_filestat
from runwasi.wasi.preview1.handles import Folder, Standard, opened
from runwasi.wasi.preview1.times import set_times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from struct import Struct
    from typing import TypeVar

    from runwasi.wasi.preview1.module_guest import Guest

    T = TypeVar("T")

_MODE_OF_FILES = 0o666
_MODE_OF_FOLDERS = 0o777
"""The mode that C programs use; the umask applies."""


def _combinations(*flags: int) -> tuple[int, ...]:
    """Return the flags for each combination of bits; `flags` are those of bits 0, 1 and so on."""
    table = [0]
    for flag in flags:
        table += [combined | flag for combined in table]
    return tuple(table)


_OFLAGS = _combinations(os.O_CREAT, os.O_DIRECTORY, os.O_EXCL, os.O_TRUNC)
_FDFLAGS = _combinations(os.O_APPEND, os.O_DSYNC, os.O_NONBLOCK, os.O_RSYNC, os.O_SYNC)

_READ_ONLY = os.O_RDONLY, abi.ALL_RIGHTS & ~abi.FD_WRITE
_ACCESS = {
    # requested rights: how to open, and the rights that the descriptor then reports
    0: _READ_ONLY,  # Linux has no open mode for neither
    abi.FD_READ: _READ_ONLY,
    abi.FD_WRITE: (os.O_WRONLY, abi.ALL_RIGHTS & ~(abi.FD_READ | abi.FD_READDIR)),
    abi.FD_READ | abi.FD_WRITE: (os.O_RDWR, abi.ALL_RIGHTS),
}


# --- opening


def path_open(
    guest: Guest,
    fd: int,
    lookup: int,
    path: int,
    size: int,
    oflags: int,
    rights: int,
    _inheriting: int,
    fdflags: int,
    result: int,
) -> int:
    """Open or create the file at a path."""
    guest.view[result + 3]
    name = guest.path(path, size)
    if lookup > SYMLINK_FOLLOW or fdflags > abi.FDFLAGS or oflags > abi.OFLAGS:
        return INVAL
    if oflags & abi.O_DIRECTORY and oflags != abi.O_DIRECTORY:
        return INVAL
    folder = guest.handles[fd]
    if not isinstance(folder, Folder):
        return BADF if isinstance(folder, Standard) else NOTDIR
    flags, told = _ACCESS[rights & (abi.FD_READ | abi.FD_WRITE)]
    flags |= _OFLAGS[oflags] | _FDFLAGS[fdflags] | os.O_NOCTTY
    if not lookup:
        flags |= os.O_NOFOLLOW
    new = open_confined(
        folder.fd, name, flags, _MODE_OF_FILES if oflags & abi.CREAT else 0, folder.confinement
    )
    try:
        handle = opened(new, os.fstat(new).st_mode, fdflags, told, folder.confinement)
    except OSError:
        os.close(new)
        raise
    abi.SIZE.pack_into(guest.view, result, guest.add(handle))
    return SUCCESS


# --- metadata


def path_filestat_get(
    guest: Guest, fd: int, lookup: int, path: int, size: int, result: int, layout: Struct = abi.FILESTAT
) -> int:
    """Return the metadata of the file at a path."""
    guest.part(result, layout.size)
    name = guest.path(path, size)
    if lookup & ~SYMLINK_FOLLOW:
        return INVAL
    put_filestat(guest, _status(guest.folder(fd), name, lookup), result, layout)
    return SUCCESS


def _status(folder: Folder, path: bytes, follow: int) -> os.stat_result:
    if _is_name(path):
        status = os.stat(path, dir_fd=folder.fd, follow_symlinks=False)
        if not (follow and stat.S_ISLNK(status.st_mode)):
            return status
    return _with_opened(folder, path, follow, os.fstat)


def path_filestat_set_times(
    guest: Guest, fd: int, lookup: int, path: int, size: int, accessed: int, modified: int, flags: int
) -> int:
    """Set the times of the file at a path."""
    name = guest.path(path, size)
    if lookup & ~SYMLINK_FOLLOW:
        return INVAL
    folder = guest.folder(fd)
    if not lookup and _is_name(name):
        set_times(folder.fd, accessed, modified, flags, name)
    else:
        _with_opened(folder, name, lookup, lambda opened: set_times(opened, accessed, modified, flags))
    return SUCCESS


def path_readlink(guest: Guest, fd: int, path: int, size: int, start: int, room: int, result: int) -> int:
    """Return a link's target, cut to the room there is; an absolute one out of its folder is refused."""
    guest.view[result + 3]
    guest.part(start, room)
    name = guest.path(path, size)
    folder = guest.folder(fd)
    simple = _is_name(name)
    target = os.readlink(name, dir_fd=folder.fd) if simple else _with_opened(folder, name, 0, _target)
    if target[:1] == b"/" and folder.confinement == BENEATH:
        return PERM
    target = target[:room]
    guest.part(start, len(target))[:] = target
    abi.SIZE.pack_into(guest.view, result, len(target))
    return SUCCESS


def _target(link: int) -> bytes:
    try:
        return os.readlink(b"", dir_fd=link)
    except FileNotFoundError:  # the kernel's answer for an empty name and no link
        raise Errno(INVAL) from None


def _is_name(path: bytes) -> bool:
    """Return whether a path is a plain name in its folder: unless it follows it, the kernel looks nowhere else.

    A slash at the end would make it follow a link.
    """
    return b"/" not in path and path not in (b"", b".", b"..")


def _with_opened(folder: Folder, path: bytes, follow: int, action: Callable[[int], T]) -> T:
    """Call `action` with an O_PATH descriptor of the file at a path."""
    fd = folder.open(path, os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW)
    try:
        return action(fd)
    finally:
        os.close(fd)


# --- names


def path_create_directory(guest: Guest, fd: int, path: int, size: int) -> int:
    """Make a folder."""
    name = guest.path(path, size)
    _in_parent(guest.folder(fd), name, lambda parent, last: os.mkdir(last, _MODE_OF_FOLDERS, dir_fd=parent))
    return SUCCESS


def path_remove_directory(guest: Guest, fd: int, path: int, size: int) -> int:
    """Remove an empty folder."""
    name = guest.path(path, size)
    _in_parent(guest.folder(fd), name, lambda parent, last: os.rmdir(last, dir_fd=parent))
    return SUCCESS


def path_unlink_file(guest: Guest, fd: int, path: int, size: int) -> int:
    """Remove anything but a folder."""
    name = guest.path(path, size)
    _in_parent(guest.folder(fd), name, lambda parent, last: os.unlink(last, dir_fd=parent))
    return SUCCESS


def path_symlink(guest: Guest, target: int, target_size: int, fd: int, path: int, size: int) -> int:
    """Make a symbolic link; an absolute one is refused, as WASI's specification requires."""
    to, name = guest.path(target, target_size), guest.path(path, size)
    if to[:1] == b"/":
        return PERM
    _in_parent(guest.folder(fd), name, lambda parent, last: os.symlink(to, last, dir_fd=parent))
    return SUCCESS


def path_link(
    guest: Guest, fd: int, lookup: int, path: int, size: int, new_fd: int, new_path: int, new_size: int
) -> int:
    """Make a hard link to the file at a path, which is not followed."""
    name, new_name = guest.path(path, size), guest.path(new_path, new_size)
    folder, new_folder = guest.folder(fd), guest.folder(new_fd)
    if lookup:
        return INVAL
    if name[-1:] == b"/":  # linkat(2) would follow it; a folder has one name only
        _with_opened(folder, name, 0, lambda _opened: None)
        return PERM

    def link(parent: int, last: bytes) -> None:
        _in_parent(
            new_folder,
            new_name,
            lambda new_parent, new_last: os.link(
                last, new_last, src_dir_fd=parent, dst_dir_fd=new_parent, follow_symlinks=False
            ),
        )

    _in_parent(folder, name, link)
    return SUCCESS


def path_rename(
    guest: Guest, fd: int, path: int, size: int, new_fd: int, new_path: int, new_size: int
) -> int:
    """Move a file, and replace one that may be at the new path."""
    name, new_name = guest.path(path, size), guest.path(new_path, new_size)
    folder, new_folder = guest.folder(fd), guest.folder(new_fd)

    def rename(parent: int, last: bytes) -> None:
        _in_parent(
            new_folder,
            new_name,
            lambda new_parent, new_last: os.rename(last, new_last, src_dir_fd=parent, dst_dir_fd=new_parent),
        )

    _in_parent(folder, name, rename)
    return SUCCESS


def _in_parent(folder: Folder, path: bytes, action: Callable[[int, bytes], None]) -> None:
    """Call `action` with the folder of a path's last part, and that part with its trailing slashes.

    It must be a call that makes or removes a name: those never follow the last part. An absolute path is refused, as
    in `open_confined`. Raises OSError.
    """
    if b"/" not in path:
        action(folder.fd, path)
        return
    if path[:1] == b"/":
        raise OSError(errno.EPERM, "the path is not relative")
    start = path.rstrip(b"/").rfind(b"/") + 1
    if start == 0:
        action(folder.fd, path)
        return
    parent = folder.open(path[:start], os.O_PATH | os.O_DIRECTORY)
    try:
        action(parent, path[start:])
    finally:
        os.close(parent)
