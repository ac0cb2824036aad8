"""Provides a path for an open file, for libraries that take only paths, without trusting the container's /proc."""

from __future__ import annotations

import os

from runwasi.linux.filesystems import open_procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


class NoProcfs(OSError):
    """There is no procfs at /proc."""


def with_path(fd: int, action: Callable[[str], T]) -> T:
    """Call `action` with a relative path that opens the file behind `fd`, and return its result.

    The image decides what is at /proc, and could put its own file where we look for ours. So we open the folder,
    verify that it is a procfs, and make it the working directory: nothing can be swapped in between.
    Raises NoProcfs, OSError. Source: man 2 statfs.
    """
    try:
        proc = open_procfs()
    except OSError as error:
        raise NoProcfs(error.errno, error.strerror, "/proc") from error
    here = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        os.fchdir(proc)
        return action(f"self/fd/{fd}")
    finally:
        os.fchdir(here)
        os.close(here)
        os.close(proc)
