"""Opens what a guest names, never leaving the folder it was given. Source: man 2 openat2."""

from __future__ import annotations

import ctypes
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

SYS_OPENAT2 = 437  # on every architecture
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10


class _OpenHow(ctypes.Structure):
    """struct open_how."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


def open_beneath(folder: int, path: str, flags: int, mode: int = 0, *, is_root: bool = False) -> int:
    """Open a path relative to a folder; links and ".." may not lead out of it.

    With `is_root` the folder is the container's own root, in which absolute links mean what they say.
    Raises OSError, EPERM for what leads out.
    """
    confined = RESOLVE_IN_ROOT if is_root else RESOLVE_BENEATH
    how = _OpenHow(flags | os.O_CLOEXEC, mode, confined | RESOLVE_NO_MAGICLINKS)
    if path.startswith("/"):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
    if "\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    fd: int = _syscall(
        ctypes.c_long(SYS_OPENAT2),
        ctypes.c_long(folder),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if fd < 0:
        number = ctypes.get_errno()
        number = errno.EPERM if number == errno.EXDEV else number
        raise OSError(number, os.strerror(number), path)
    return fd


class Parent:
    """The open folder of a path's last component, for calls that take a folder and a name."""

    def __init__(self, folder: int, path: str, *, is_root: bool = False) -> None:
        """Raises OSError; EINVAL where the last component is no name."""
        head, _, self.name = path.rstrip("/").rpartition("/")
        if self.name in ("", ".", ".."):
            number = errno.EINVAL if path else errno.ENOENT
            raise OSError(number, os.strerror(number), path)
        if path.startswith("/"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        self.fd = open_beneath(folder, head or ".", os.O_PATH | os.O_DIRECTORY, is_root=is_root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self.fd)
