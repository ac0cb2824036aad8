"""Speaks the service manager's protocol: takes the sockets that it passes, and reports to it.

Sources: man 3 sd_listen_fds, man 3 sd_notify, man 3 sd_watchdog_enabled.
"""

from __future__ import annotations

import os

from runwasi.startup import thin_socket

FIRST_SOCKET = 3

_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")


def listen_fds() -> int:
    """Return the number of listening sockets that were passed to us, starting at FIRST_SOCKET."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return 0
    return _number("LISTEN_FDS")


class ServiceManager:
    """The service manager that started us, if any: what it passed, and how to report to it."""

    def __init__(self) -> None:
        """Read its variables from the environment, and remove them for the programs that we start."""
        self.sockets = listen_fds()
        self.watchdog = 0.0
        """Seconds of silence after which it considers us hung; 0 if there is no watchdog."""
        if os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            self.watchdog = _number("WATCHDOG_USEC") / 1e6
        self._path = os.environ.get("NOTIFY_SOCKET", "")
        self.variables = {name: os.environ.pop(name) for name in _VARIABLES if name in os.environ}
        """Its environment variables, for a program that replaces us."""

    def notify(self, state: str) -> None:
        """Send it a message such as "READY=1". It may be absent or not listening."""
        if not self._path:
            return
        path = f"\0{self._path[1:]}" if self._path.startswith("@") else self._path
        kind = thin_socket.SOCK_DGRAM | thin_socket.SOCK_CLOEXEC | thin_socket.SOCK_NONBLOCK
        try:
            sock = thin_socket.socket(thin_socket.AF_UNIX, kind)
        except OSError:
            return
        try:
            sock.sendto(state.encode(), path)
        except OSError:
            pass
        finally:
            sock.close()


def _number(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() else 0
