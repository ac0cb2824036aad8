"""Receives events about files from the kernel. Source: man 7 inotify."""

from __future__ import annotations

import os

from runwasi.linux.libc import check, libc
from runwasi.startup.thin_ctypes import c_char_p, c_int, c_uint32

# linux/inotify.h
IN_MODIFY = 0x2
IN_OPEN = 0x20
IN_DELETE_SELF = 0x400

libc.inotify_init1.argtypes = (c_int,)
libc.inotify_add_watch.argtypes = (c_int, c_char_p, c_uint32)


def watch(path: str, events: int) -> int:
    """Return a non-blocking, close-on-exec descriptor that is readable after one of events (IN_*) at path.

    Raises OSError naming path.
    """
    fd: int = check(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")
    try:
        check(libc.inotify_add_watch(fd, os.fsencode(path), events), "inotify_add_watch", path)
    except BaseException:
        os.close(fd)
        raise
    return fd
