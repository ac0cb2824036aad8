"""Get a signal when a file in a folder changes (dnotify).

Unlike inotify it takes no instance, of which a user has 128 for all processes: on a node every wasm container may
watch. Unlike anything that is polled it needs no thread of its own. Source: man 2 fcntl.
"""

from __future__ import annotations

import fcntl
import os


def signal_writes(folder: int, number: int) -> None:
    """Send this process a signal whenever a file in the folder of a descriptor is written to.

    Children forked afterwards hear nothing. The descriptor's close ends it. Raises OSError, EINVAL from a kernel
    without dnotify.
    """
    fcntl.fcntl(folder, fcntl.F_SETSIG, number)
    fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_MODIFY | fcntl.DN_MULTISHOT)


def receive_signals(folder: int) -> None:
    """Receive them as our present user: the kernel sends none to a process that asked as another. Raises OSError."""
    fcntl.fcntl(folder, fcntl.F_SETOWN, os.getpid())
