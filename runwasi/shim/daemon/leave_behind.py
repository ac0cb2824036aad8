"""Leaves a daemon running: a launcher that found none does so, unless a service manager keeps one.

It costs the launcher a fork. The daemon starts while containerd goes on, serves from the next start on, and ends
after ten minutes without a call.
"""

from __future__ import annotations

import fcntl
import os

from runwasi.node import configuration
from runwasi.shim import pod_socket
from runwasi.shim.client import packet
from runwasi.shim.server import spawn
from runwasi.startup import installation, thin_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.engine import Engine

IDLE_SECONDS = 600


def leave_behind(engine: str | Engine) -> None:
    """Start the engine's daemon unless there is one, or the configuration forbids it. Nothing depends on it."""
    if os.environ.get("RUNWASI_DAEMON") in ("off", "managed"):
        return
    name = engine if isinstance(engine, str) else engine.name
    path = os.environ.get("RUNWASI_DAEMON_SOCKET") or packet.daemon_socket_path(name)
    if os.path.lexists(packet.note_path(path)) or pod_socket.answers(path, thin_socket.SOCK_SEQPACKET):
        return
    if _may_leave() and os.fork() == 0:
        try:
            _become_daemon(engine, name, path)
        finally:
            os._exit(1)


def _may_leave() -> bool:
    """Return what the node's configuration says; an unreadable one allows nothing."""
    try:
        return configuration.load().leave_daemon
    except configuration.ConfigurationError:
        return False


def _become_daemon(engine: str | Engine, name: str, path: str) -> None:
    """Start it in its own session, with nothing of the launcher; only one of many launchers does so."""
    os.setsid()
    os.chdir("/")
    os.makedirs(os.path.dirname(path), 0o711, exist_ok=True)
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(f"{path}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by the daemon as long as it lives
    os.ftruncate(log, 0)
    for fd, source in enumerate((null, null, log)):
        os.dup2(source, fd)
    installation.lift(max(null, log) + 1)
    os.closerange(3, max(null, log) + 1)
    arguments = ["-address", path, "-idle", str(IDLE_SECONDS)]
    program = _find(f"containerd-{name}d")
    if program:
        os.execve(program, [program, *arguments], os.environ)
    spawn.execute(spawn.command("runwasi.shim.daemon.node_daemon", "serve", engine, arguments))


def _find(program: str) -> str:
    """Return a program's path beside the shim that containerd found; "" if it is not there."""
    folders = os.environ.get("PATH", "").split(":")
    return next((path for folder in folders if os.access(path := f"{folder}/{program}", os.X_OK)), "")
