"""Opens the paths that a guest names, within the confinement of their folder."""

from __future__ import annotations

import errno
import os

from runwasi.wasi.filesystem.confinement import open_confined

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


def refuse_nul(path: str) -> None:
    """Refuse a path that the kernel would cut short. Raises OSError, EINVAL."""
    if "\0" in path:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)


def open_path(folder: int, path: str, flags: int, mode: int, confinement: int) -> int:
    """Open a path relative to a folder. Raises OSError, EPERM for a path that leads out."""
    refuse_nul(path)
    return open_confined(folder, os.fsencode(path), flags, mode, confinement)


class ParentFolder:
    """The open folder of a path's last component, for calls that take a folder and a name."""

    def __init__(self, folder: int, path: str, confinement: int) -> None:
        """Open the folder. Raises OSError; EINVAL if the last component is not a name."""
        refuse_nul(path)
        head, _, self.name = path.rstrip("/").rpartition("/")
        if self.name in ("", ".", ".."):
            number = errno.EINVAL if path else errno.ENOENT
            raise OSError(number, os.strerror(number), path)
        if path.startswith("/"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        self.fd = open_path(folder, head or ".", os.O_PATH | os.O_DIRECTORY, 0, confinement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self.fd)
