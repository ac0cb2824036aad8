"""What the client shim of shared mode says to the node daemon: one packet, one answer.

The packet holds a pod's flags as a shim's own command line has them, parted by NUL, and beside it the socket
that already listens for the pod and the log FIFO. The answer is empty, or says why there is no server.
"""

from __future__ import annotations

import _socket
import os
from _struct import pack

from runwasi.shim.flags import Flags

TYPE_CHECKING = False

MAX_PACKET = 32 << 10
_SECONDS = 10


def manager_path(engine: str) -> str:
    """Return where the daemon of an engine listens unless it is told otherwise."""
    return f"/run/io.containerd.{engine}.v1/manager.sock"


def server(flags: Flags, engine: str, listener: int, shim_cgroup: str) -> None:
    """Have the node daemon fork the server of a pod. Raises OSError that says what to do."""
    path = os.environ.get("RUNWASI_MANAGER", manager_path(engine))
    flags.shim_cgroup = shim_cgroup
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    sock.settimeout(_SECONDS)
    try:
        sock.connect(path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}: is containerd-{engine}d running (systemctl start containerd-{engine}d)?",
            path,
        ) from None
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pack("i", listener))
    sock.sendmsg(["\0".join(flags.arguments()).encode()], [rights])
    answer = sock.recv(MAX_PACKET)
    sock.close()
    if answer != b"ok":
        raise OSError(5, answer.decode(errors="replace") or "the daemon ended before it answered", path)
