"""Opens /dev/null in place of standard streams that our caller closed."""

from __future__ import annotations

import os
import sys

_STREAMS = ("stdin", "r"), ("stdout", "w"), ("stderr", "w")


def open_missing() -> None:
    """Open /dev/null in place of each of 0, 1 and 2 that our caller closed.

    Every program calls this before it opens anything: the kernel assigns the lowest free number, so our socket
    could become a container's standard stream. Python's own streams, None for closed descriptors, are made
    again. Raises OSError.
    """
    for fd, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is not None:
            continue
        null = os.open("/dev/null", os.O_RDWR)
        if null != fd:  # site.py, or a package's .pth file, keeps one open
            os.dup2(null, fd)
            os.close(null)
        os.set_inheritable(fd, True)
        stream = open(fd, mode, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115  for good
        setattr(sys, name, stream)
