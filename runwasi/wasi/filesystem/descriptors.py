"""wasi:filesystem: the container's folders and files, for components that cannot use the engine's own WASI."""

from __future__ import annotations

import errno
import os
import stat
import time

from runwasi.wasi.clocks import NANO
from runwasi.wasi.component.interface import GuestFault, Interface, Resource
from runwasi.wasi.component.values import Err
from runwasi.wasi.filesystem.confined_paths import ParentFolder, open_path, refuse_nul
from runwasi.wasi.filesystem.confinement import BENEATH, confinements, inherited
from runwasi.wasi.io.fd_streams import FileInput, FileOutput
from runwasi.wasi.io.streams import CHUNK, IoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet
    from typing import Any, TypeVar

    from runwasi.wasi.clocks import Datetime
    from runwasi.wasi.component.guest import Guest

    F = TypeVar("F", bound=Callable[..., Any])
    Stat = tuple[str, int, int, Datetime, Datetime, Datetime]

types = Interface("wasi:filesystem/types")
preopens = Interface("wasi:filesystem/preopens")

_ERRORS = {
    errno.EACCES: "access", errno.EAGAIN: "would-block", errno.EALREADY: "already",
    errno.EBADF: "bad-descriptor", errno.EBUSY: "busy", errno.EDEADLK: "deadlock", errno.EDQUOT: "quota",
    errno.EEXIST: "exist", errno.EFBIG: "file-too-large", errno.EILSEQ: "illegal-byte-sequence",
    errno.EINPROGRESS: "in-progress", errno.EINTR: "interrupted", errno.EINVAL: "invalid",
    errno.EISDIR: "is-directory", errno.ELOOP: "loop", errno.EMLINK: "too-many-links",
    errno.EMSGSIZE: "message-size", errno.ENAMETOOLONG: "name-too-long", errno.ENODEV: "no-device",
    errno.ENOENT: "no-entry", errno.ENOLCK: "no-lock", errno.ENOMEM: "insufficient-memory",
    errno.ENOSPC: "insufficient-space", errno.ENOTDIR: "not-directory", errno.ENOTEMPTY: "not-empty",
    errno.ENOTRECOVERABLE: "not-recoverable", errno.ENOTSUP: "unsupported", errno.ENOTTY: "no-tty",
    errno.ENXIO: "no-such-device", errno.EOVERFLOW: "overflow", errno.EPERM: "not-permitted",
    errno.EPIPE: "pipe", errno.EROFS: "read-only", errno.ESPIPE: "invalid-seek",
    errno.ETXTBSY: "text-file-busy", errno.EXDEV: "cross-device",
}  # fmt: skip

_TYPES = {
    stat.S_IFBLK: "block-device", stat.S_IFCHR: "character-device", stat.S_IFDIR: "directory",
    stat.S_IFIFO: "fifo", stat.S_IFLNK: "symbolic-link", stat.S_IFREG: "regular-file",
    stat.S_IFSOCK: "socket",
}  # fmt: skip

_OPEN_FLAGS = {
    "create": os.O_CREAT, "directory": os.O_DIRECTORY, "exclusive": os.O_EXCL, "truncate": os.O_TRUNC,
    "file-integrity-sync": os.O_SYNC, "data-integrity-sync": os.O_DSYNC,
}  # fmt: skip

_ADVICE = {
    "normal": os.POSIX_FADV_NORMAL, "sequential": os.POSIX_FADV_SEQUENTIAL, "random": os.POSIX_FADV_RANDOM,
    "will-need": os.POSIX_FADV_WILLNEED, "dont-need": os.POSIX_FADV_DONTNEED,
    "no-reuse": os.POSIX_FADV_NOREUSE,
}  # fmt: skip


def error_code(error: OSError) -> str:
    """Return WIT's name of an errno."""
    return _ERRORS.get(error.errno or 0, "io")


def _fails(method: F) -> F:
    """Turn a method's OSError into the error-code that its caller gets."""

    def wrapper(*args: Any) -> Any:
        try:
            return method(*args)
        except OSError as error:
            raise Err(error_code(error)) from error
        except OverflowError as error:  # WASI's numbers are u64, Linux's offsets are not
            raise Err("overflow") from error

    wrapper.__name__, wrapper.__doc__ = method.__name__, method.__doc__
    return wrapper  # type: ignore[return-value]


@types.resource("descriptor")
class Descriptor(Resource):
    """An open file or folder; `confined` says where paths from there may lead."""

    def __init__(self, fd: int, flags: AbstractSet[str], confined: int) -> None:
        self.fd = fd
        self.flags = flags
        self.confined = confined

    def drop(self) -> None:
        """Close it."""
        os.close(self.fd)

    # --- content

    @_fails
    def read_via_stream(self, offset: int) -> FileInput:
        """Return a stream that reads from an offset."""
        return FileInput(os.dup(self.fd), offset)

    @_fails
    def write_via_stream(self, offset: int) -> FileOutput:
        """Return a stream that writes from an offset."""
        return FileOutput(os.dup(self.fd), offset)

    @_fails
    def append_via_stream(self) -> FileOutput:
        """Return a stream that writes at the end."""
        return FileOutput(os.dup(self.fd), None)

    @_fails
    def read(self, length: int, offset: int) -> tuple[bytes, bool]:
        """Read at an offset; return the bytes, and whether that was the end."""
        data = os.pread(self.fd, min(length, CHUNK), offset)
        return data, not data and length > 0

    @_fails
    def write(self, buffer: bytes, offset: int) -> int:
        """Write at an offset; return the number of bytes written."""
        return os.pwrite(self.fd, buffer, offset)

    @_fails
    def set_size(self, size: int) -> None:
        """Truncate or extend the file."""
        os.ftruncate(self.fd, size)

    @_fails
    def advise(self, offset: int, length: int, advice: str) -> None:
        """Tell the kernel how the file will be used."""
        os.posix_fadvise(self.fd, offset, length, _ADVICE[advice])

    @_fails
    def sync_data(self) -> None:
        """Wait for the data to be on the disk."""
        os.fdatasync(self.fd)

    @_fails
    def sync(self) -> None:
        """Wait for everything to be on the disk."""
        os.fsync(self.fd)

    # --- metadata

    def get_flags(self) -> AbstractSet[str]:
        """Return the flags that it was opened with."""
        return self.flags

    @_fails
    def get_type(self) -> str:
        """Return its type."""
        return _type(os.fstat(self.fd).st_mode)

    @_fails
    def stat(self) -> Stat:
        """Return its metadata."""
        return _stat(os.fstat(self.fd))

    @_fails
    def stat_at(self, path_flags: AbstractSet[str], path: str) -> Stat:
        """Return a path's metadata."""
        return _stat(self._status_at(path_flags, path))

    @_fails
    def set_times(self, accessed: tuple[str, Datetime], modified: tuple[str, Datetime]) -> None:
        """Set its times."""
        os.utime(self.fd, ns=_times(os.fstat(self.fd), accessed, modified))

    @_fails
    def set_times_at(
        self,
        path_flags: AbstractSet[str],
        path: str,
        accessed: tuple[str, Datetime],
        modified: tuple[str, Datetime],
    ) -> None:
        """Set a path's times."""
        times = _times(self._status_at(path_flags, path), accessed, modified)
        if "symlink-follow" in path_flags:
            fd = self._open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                os.utime(fd, ns=times)
            finally:
                os.close(fd)
        else:
            with self._parent(path) as parent:
                os.utime(parent.name, ns=times, dir_fd=parent.fd, follow_symlinks=False)

    def is_same_object(self, other: Descriptor) -> bool:
        """Return whether both are the same file."""
        return os.path.sameopenfile(self.fd, other.fd)

    @_fails
    def metadata_hash(self) -> tuple[int, int]:
        """Return a hash that stays the same while the file is unchanged."""
        return _hash(os.fstat(self.fd))

    @_fails
    def metadata_hash_at(self, path_flags: AbstractSet[str], path: str) -> tuple[int, int]:
        """Return the hash of the file at a path."""
        return _hash(self._status_at(path_flags, path))

    # --- folders

    @_fails
    def open_at(
        self,
        path_flags: AbstractSet[str],
        path: str,
        open_flags: AbstractSet[str],
        flags: AbstractSet[str],
    ) -> Descriptor:
        """Open or create the file at a path."""
        access = {(False, True): os.O_WRONLY, (True, True): os.O_RDWR}.get(
            ("read" in flags, "write" in flags), os.O_RDONLY
        )
        for flag in (*open_flags, *flags):
            access |= _OPEN_FLAGS.get(flag, 0)
        if "symlink-follow" not in path_flags:
            access |= os.O_NOFOLLOW
        mode = 0o666 if "create" in open_flags else 0
        fd = open_path(self.fd, path, access, mode, self.confined)
        return Descriptor(fd, flags, inherited(self.confined))

    @_fails
    def read_directory(self) -> DirectoryStream:
        """Return a stream of the folder's entries."""
        return DirectoryStream(self.fd)

    @_fails
    def create_directory_at(self, path: str) -> None:
        """Make a folder."""
        with self._parent(path) as parent:
            os.mkdir(parent.name, dir_fd=parent.fd)

    @_fails
    def link_at(self, path_flags: AbstractSet[str], path: str, folder: Descriptor, new_path: str) -> None:
        """Make a hard link; symbolic links are not followed."""
        if "symlink-follow" in path_flags:
            raise OSError(errno.EINVAL, "links are not followed")
        with self._parent(path) as old, folder._parent(new_path) as new:
            os.link(old.name, new.name, src_dir_fd=old.fd, dst_dir_fd=new.fd, follow_symlinks=False)

    @_fails
    def symlink_at(self, target: str, path: str) -> None:
        """Make a symbolic link; its target must be relative."""
        if target.startswith("/"):
            raise OSError(errno.EPERM, "absolute links are not made")
        refuse_nul(target)
        with self._parent(path) as parent:
            os.symlink(target, parent.name, dir_fd=parent.fd)

    @_fails
    def readlink_at(self, path: str) -> str:
        """Return a symbolic link's target; an absolute one is refused in a folder that was given alone."""
        with self._parent(path) as parent:
            target = _text(os.readlink(parent.name, dir_fd=parent.fd))
        if target.startswith("/") and self.confined == BENEATH:
            raise OSError(errno.EPERM, "absolute links are not read")
        return target

    @_fails
    def remove_directory_at(self, path: str) -> None:
        """Remove an empty folder."""
        with self._parent(path) as parent:
            os.rmdir(parent.name, dir_fd=parent.fd)

    @_fails
    def unlink_file_at(self, path: str) -> None:
        """Remove anything but a folder."""
        with self._parent(path) as parent:
            os.unlink(parent.name, dir_fd=parent.fd)

    @_fails
    def rename_at(self, path: str, folder: Descriptor, new_path: str) -> None:
        """Move a file or folder."""
        with self._parent(path) as old, folder._parent(new_path) as new:
            os.rename(old.name, new.name, src_dir_fd=old.fd, dst_dir_fd=new.fd)

    def _open(self, path: str, flags: int) -> int:
        return open_path(self.fd, path, flags, 0, self.confined)

    def _parent(self, path: str) -> ParentFolder:
        return ParentFolder(self.fd, path, self.confined)

    def _status_at(self, path_flags: AbstractSet[str], path: str) -> os.stat_result:
        nofollow = 0 if "symlink-follow" in path_flags else os.O_NOFOLLOW
        fd = self._open(path, os.O_PATH | nofollow)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)


def _text(name: str) -> str:
    """Return a name of the kernel's, which WIT's strings cannot hold if it is not UTF-8. Raises OSError, EILSEQ."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ), os.fsencode(name)) from None
    return name


def _type(mode: int) -> str:
    return _TYPES.get(stat.S_IFMT(mode), "unknown")


def _stat(status: os.stat_result) -> Stat:
    times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
    accessed, modified, changed = (divmod(max(0, moment), NANO) for moment in times)
    return _type(status.st_mode), status.st_nlink, status.st_size, accessed, modified, changed


def _times(
    status: os.stat_result, accessed: tuple[str, Datetime], modified: tuple[str, Datetime]
) -> tuple[int, int]:
    return _time(accessed, status.st_atime_ns), _time(modified, status.st_mtime_ns)


def _time(new: tuple[str, Datetime], old: int) -> int:
    case, moment = new
    if case == "timestamp":
        return moment[0] * NANO + moment[1]
    return time.time_ns() if case == "now" else old


def _hash(status: os.stat_result) -> tuple[int, int]:
    return status.st_ino, status.st_dev ^ (status.st_mtime_ns & 0xFFFFFFFFFFFFFFFF)


@types.resource("directory-entry-stream")
class DirectoryStream(Resource):
    """Lists a folder, one entry a call."""

    def __init__(self, fd: int) -> None:
        self._entries = os.scandir(fd)

    @_fails
    def read_directory_entry(self) -> tuple[str, str] | None:
        """Return the next entry's type and name, None after the last."""
        entry = next(self._entries, None)
        if entry is None:
            return None
        name = _text(entry.name)
        if entry.is_file(follow_symlinks=False):
            return "regular-file", name
        if entry.is_dir(follow_symlinks=False):
            return "directory", name
        return _type(entry.stat(follow_symlinks=False).st_mode), name

    def drop(self) -> None:
        """Close it."""
        self._entries.close()


@types.function("filesystem-error-code")
def filesystem_error_code(_guest: Guest, error: IoError) -> str | None:
    """Return the error-code of a stream's error, None if it was no file error."""
    return error_code(error.cause) if isinstance(error.cause, OSError) else None


@preopens.function("get-directories")
def get_directories(guest: Guest) -> list[tuple[Descriptor, str]]:
    """Return the guest's preopened folders."""
    folders: list[tuple[Descriptor, str]] = []
    flags = {"read", "write", "mutate-directory"}
    try:
        for path, name, confined in confinements(guest.world.preopens):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            folders.append((Descriptor(fd, flags, confined), name))
    except OSError as error:
        for folder, _ in folders:
            folder.drop()
        raise GuestFault(f"wasi:filesystem/preopens: {error}") from error
    return folders
