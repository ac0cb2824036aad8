"""Delivers a signal when a file in a folder changes (dnotify).

Unlike inotify it needs no instance, of which a user has 128 for all processes: every wasm container of a node may
watch. Unlike polling it needs no thread. Source: man 2 fcntl.
"""

from __future__ import annotations

import fcntl
import os


def signal_writes(folder: int, number: int) -> None:
    """Make the kernel send this process a signal whenever a file in a descriptor's folder is written to.

    Children forked later get no signal. Closing the descriptor ends it. Raises OSError, EINVAL on a kernel
    without dnotify.
    """
    fcntl.fcntl(folder, fcntl.F_SETSIG, number)
    fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_MODIFY | fcntl.DN_MULTISHOT)


def receive_signals(folder: int) -> None:
    """Receive them as our current user: the kernel sends none to a process that asked as another. Raises OSError."""
    fcntl.fcntl(folder, fcntl.F_SETOWN, os.getpid())
