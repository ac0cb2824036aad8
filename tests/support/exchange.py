"""A process that exchanges a directory with a link all the time, as a container that shares a volume can."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from runwasi.linux.processes import fork_into, pidfd_send_signal, reap, set_pdeathsig

_RENAME_EXCHANGE = 2  # man 2 renameat2
_AT_FDCWD = -100


@contextlib.contextmanager
def exchanging(one: Path, other: Path) -> Iterator[None]:
    """Exchange the two names for as long as the block lasts, from before it begins."""
    begun, beginning = os.pipe()
    child = fork_into()
    if child is None:
        set_pdeathsig(9)
        libc = ctypes.CDLL(None)
        names = os.fsencode(one), os.fsencode(other)
        os.close(begun)
        os.write(beginning, b"x")
        while True:
            libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
    os.close(beginning)
    os.read(begun, 1)
    os.close(begun)
    try:
        yield
    finally:
        pidfd_send_signal(child.pidfd, 9)
        reap(child.pidfd)
        os.close(child.pidfd)
