"""Passes a service manager's listening sockets on to the container, and sends pidfds back.

Sources: man 3 sd_listen_fds, man 3 sd_notify.
"""

from __future__ import annotations

import os

from runwasi.executor.plan.bundle import Bundle
from runwasi.linux.service_manager import listen_fds
from runwasi.linux.sockets import connect, send_fd
from runwasi.oci.record import replaced


def announced(bundle: Bundle) -> Bundle:
    """Return the bundle with the passed sockets announced in its environment; its program is process 1."""
    listened = listen_fds()
    if not listened:
        return bundle
    return with_environment(bundle, f"LISTEN_FDS={listened}", "LISTEN_PID=1")


def with_environment(bundle: Bundle, *entries: str) -> Bundle:
    """Return the bundle with additional environment variables; its config.json stays as it is."""
    process = replaced(bundle.process, env=(*bundle.process.env, *entries))
    return Bundle(bundle.path, replaced(bundle.spec, process=process), bundle.raw)


def send_pidfd(path: str, pidfd: int) -> None:
    """Send a pidfd to the socket at path, in the same way as a console's master. Raises OSError."""
    socket = connect(path)
    try:
        send_fd(socket, pidfd, "pidfd")
    finally:
        os.close(socket)
