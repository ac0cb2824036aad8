"""Opens what a guest names, never leaving the folder it was given. Source: man 2 openat2."""

from __future__ import annotations

import errno
import os

from runwasi.linux.beneath import RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


def open_beneath(folder: int, path: str, flags: int, mode: int = 0, *, is_root: bool = False) -> int:
    """Open a path relative to a folder; links and ".." may not lead out of it.

    With `is_root` the folder is the container's own root, in which absolute links mean what they say.
    Raises OSError, EPERM for what leads out.
    """
    if path.startswith("/"):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
    if "\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    confined = RESOLVE_IN_ROOT if is_root else RESOLVE_BENEATH
    try:
        return openat2(folder, path, flags, mode, confined | RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path) from None


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
