"""Asks each engine's node daemon whether it answers, and whether it is of this installation."""

from __future__ import annotations

import os
import socket
import stat

from runwasi.cli.doctor.finding import OK, WARN, Finding, has_systemd, service
from runwasi.engines import registry
from runwasi.linux import sockets
from runwasi.shim.client import packet
from runwasi.startup import installation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_UNITS = "runwasi install units --write --restart"


def daemons() -> Iterator[Finding]:
    """Ask the daemon of each engine that has one, and the default engine's. Both modes have the same daemon."""
    for engine in registry.names():
        path = os.environ.get("RUNWASI_DAEMON_SOCKET") or packet.daemon_socket_path(engine)
        if os.path.lexists(path) or engine == registry.DEFAULT:
            yield _daemon(engine, path)


def _daemon(engine: str, path: str) -> Finding:
    name = registry.daemon_name(engine)
    if not os.path.lexists(path):
        says = (
            f"{name} does not run: normal mode starts pods slower, and its first pod leaves a daemon behind"
        )
        return Finding("daemon", WARN, says, _UNITS if has_systemd() else service("start", name))
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return Finding("daemon", WARN, f"{path} is no socket: {name} cannot listen there", f"rm {path}")
    try:
        kind, pid = _asked(engine, path)
    except TimeoutError:
        return Finding(
            "daemon", WARN, f"{name} does not answer on {path}: shims do without it", service("restart", name)
        )
    except PermissionError:
        return Finding("daemon", WARN, f"{path}: only root may ask {name}", "sudo runwasi doctor")
    except (OSError, packet.PacketError):
        return Finding(
            "daemon",
            WARN,
            f"nobody listens on {path}, which {name} left",
            f"{service('restart', name)}, or rm {path}",
        )
    if kind == packet.COLD:
        says = f"{name} (process {pid}) is of another version or installation{_of(pid)}: shims do without it"
        return Finding("daemon", WARN, says, f"kill -HUP {pid}, which keeps its pods")
    if os.path.lexists(packet.note_path(path)):
        note = packet.note_path(path)
        return Finding("daemon", WARN, f"{name} answers, but {note} has shims do without it", f"rm {note}")
    return Finding("daemon", OK, f"{name} (process {pid}) answers, and is of this installation")


def _asked(engine: str, path: str) -> tuple[int, int]:
    """Ask a daemon for its version; returns the kind of its answer, and its pid. Raises OSError, PacketError."""
    call = packet.CallPacket(installation.version(), registry.shim_name(engine), ["-v"], {}, b"")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(packet.TAKEN_SECONDS)
        asking.connect(path)
        pid, uid, _ = sockets.peer_credentials(asking.fileno())
        if uid != os.geteuid():
            raise PermissionError
        folder = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            socket.send_fds(asking, [call.encode()], [folder])
        finally:
            os.close(folder)
        kind = packet.TAKEN
        while kind == packet.TAKEN:
            kind, *_ = packet.read_reply(asking.recv(packet.MAX_REPLY))
        return kind, pid


def _of(pid: int) -> str:
    """Return which version a process holds, in brackets; "" when that cannot be seen."""
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            held = os.readlink(f"/proc/{pid}/fd/{name}")
            if held.endswith(f"/{installation.LOCK}"):
                return f" ({os.path.basename(os.path.dirname(held))})"
    except OSError:
        return ""
    return ""
