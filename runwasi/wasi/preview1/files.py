"""The functions fd_*: operations on an open file, stream or folder."""

from __future__ import annotations

import os

from runwasi.wasi.preview1 import abi
from runwasi.wasi.preview1.abi import BADF, INVAL, NAMETOOLONG, NOTDIR, NOTSUP, SUCCESS
from runwasi.wasi.preview1.times import set_times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from struct import Struct

    from runwasi.wasi.preview1.module_guest import Guest

_ADVICE = (
    os.POSIX_FADV_NORMAL, os.POSIX_FADV_SEQUENTIAL, os.POSIX_FADV_RANDOM, os.POSIX_FADV_WILLNEED,
    os.POSIX_FADV_DONTNEED, os.POSIX_FADV_NOREUSE,
)  # fmt: skip


# --- content


def fd_read(guest: Guest, fd: int, iovs: int, count: int, result: int) -> int:
    """Read at the current position."""
    guest.view[result + 3]
    size = guest.handles[fd].read(guest.buffers(iovs, count))
    abi.SIZE.pack_into(guest.view, result, size)
    return SUCCESS


def fd_write(guest: Guest, fd: int, iovs: int, count: int, result: int) -> int:
    """Write at the current position."""
    guest.view[result + 3]
    size = guest.handles[fd].write(guest.buffers(iovs, count))
    abi.SIZE.pack_into(guest.view, result, size)
    return SUCCESS


def fd_pread(guest: Guest, fd: int, iovs: int, count: int, offset: int, result: int) -> int:
    """Read at an offset."""
    guest.view[result + 3]
    size = guest.handles[fd].read_at(guest.buffers(iovs, count), offset)
    abi.SIZE.pack_into(guest.view, result, size)
    return SUCCESS


def fd_pwrite(guest: Guest, fd: int, iovs: int, count: int, offset: int, result: int) -> int:
    """Write at an offset."""
    guest.view[result + 3]
    size = guest.handles[fd].write_at(guest.buffers(iovs, count), offset)
    abi.SIZE.pack_into(guest.view, result, size)
    return SUCCESS


def fd_seek(guest: Guest, fd: int, offset: int, whence: int, result: int) -> int:
    """Move the current position."""
    guest.view[result + 7]
    position = guest.handles[fd].seek(offset, whence)
    abi.FILESIZE.pack_into(guest.view, result, position)
    return SUCCESS


def fd_tell(guest: Guest, fd: int, result: int) -> int:
    """Return the current position."""
    abi.FILESIZE.pack_into(guest.view, result, guest.handles[fd].tell())
    return SUCCESS


def fd_advise(guest: Guest, fd: int, offset: int, size: int, advice: int) -> int:
    """Tell the kernel how a file will be used."""
    if advice >= len(_ADVICE):
        return INVAL
    os.posix_fadvise(guest.handles[fd].file().fd, offset, size, _ADVICE[advice])
    return SUCCESS


def fd_allocate(guest: Guest, fd: int, offset: int, size: int) -> int:
    """Allocate space for a part of a file."""
    os.posix_fallocate(guest.handles[fd].file().fd, offset, size)
    return SUCCESS


def fd_datasync(guest: Guest, fd: int) -> int:
    """Wait until the content is on the disk."""
    os.fdatasync(guest.handles[fd].syncable())
    return SUCCESS


def fd_sync(guest: Guest, fd: int) -> int:
    """Wait until content and metadata are on the disk."""
    os.fsync(guest.handles[fd].syncable())
    return SUCCESS


# --- metadata


def fd_fdstat_get(guest: Guest, fd: int, result: int) -> int:
    """Return its type, flags and rights."""
    abi.FDSTAT.pack_into(guest.view, result, *guest.handles[fd].fdstat)
    return SUCCESS


def fd_fdstat_set_flags(guest: Guest, fd: int, flags: int) -> int:
    """Change its flags."""
    if flags & ~abi.FDFLAGS:
        return INVAL
    guest.handles[fd].set_flags(flags)
    return SUCCESS


def fd_fdstat_set_rights(guest: Guest, fd: int, _base: int, _inheriting: int) -> int:
    """Refuse, as current hosts do: WASI has dropped rights."""
    guest.handles[fd]
    return NOTSUP


def fd_filestat_get(guest: Guest, fd: int, result: int, layout: Struct = abi.FILESTAT) -> int:
    """Return its metadata."""
    put_filestat(guest, os.fstat(guest.handles[fd].fd), result, layout)
    return SUCCESS


def put_filestat(guest: Guest, status: os.stat_result, result: int, layout: Struct) -> None:
    """Write a $filestat, in which no time is before 1970."""
    layout.pack_into(
        guest.view,
        result,
        status.st_dev,
        status.st_ino,
        abi.filetype(status.st_mode),
        status.st_nlink,
        status.st_size,
        max(0, status.st_atime_ns),
        max(0, status.st_mtime_ns),
        max(0, status.st_ctime_ns),
    )


def fd_filestat_set_size(guest: Guest, fd: int, size: int) -> int:
    """Truncate a file, or extend it with zeros."""
    os.ftruncate(guest.handles[fd].file().fd, size)
    return SUCCESS


def fd_filestat_set_times(guest: Guest, fd: int, accessed: int, modified: int, flags: int) -> int:
    """Set its times."""
    set_times(guest.handles[fd].fd, accessed, modified, flags)
    return SUCCESS


# --- the descriptor itself


def fd_close(guest: Guest, fd: int) -> int:
    """Close it."""
    guest.remove(fd).close()
    return SUCCESS


def fd_renumber(guest: Guest, fd: int, to: int) -> int:
    """Move a descriptor to the number of another, which is closed."""
    guest.handles[fd]
    replaced = guest.handles[to]
    if fd != to:
        guest.handles[to] = guest.remove(fd)
        replaced.close()
    return SUCCESS


def fd_prestat_get(guest: Guest, fd: int, result: int) -> int:
    """Return the length of a preopened folder's name."""
    name = guest.handles[fd].name
    if name is None:
        return BADF
    abi.PRESTAT.pack_into(guest.view, result, 0, len(name))
    return SUCCESS


def fd_prestat_dir_name(guest: Guest, fd: int, start: int, size: int) -> int:
    """Return the name of a preopened folder."""
    name = guest.handles[fd].name
    if name is None:
        return NOTDIR
    if len(name) > size:
        return NAMETOOLONG
    guest.part(start, len(name))[:] = name
    return SUCCESS


def fd_readdir(guest: Guest, fd: int, start: int, size: int, cookie: int, result: int) -> int:
    """List a folder, starting after the entry of a cookie."""
    guest.view[result + 3]
    written = guest.folder(fd).listing().fill(guest.part(start, size), cookie)
    abi.SIZE.pack_into(guest.view, result, written)
    return SUCCESS
