"""Names the socket of a pod's server, and takes it or finds its server.

containerd and every start of a container in the same pod must come to the same path, which is a hash because
a unix socket's path may have 107 bytes only (man 7 unix).
"""

from __future__ import annotations

import fcntl
import os

from runwasi.startup import thin_socket
from runwasi.startup.hashing import sha256

TYPE_CHECKING = False

DEFAULT_DIRECTORY = "/run/containerd/s"
GROUP_ANNOTATIONS = ("io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id")
"""Annotations, in order: containers with the same value of the first that they have share a server."""

_BACKLOG = 128


def group_of(bundle: str, container_id: str) -> str:
    """Return the id of the pod of a bundle's container: its own id unless annotations say otherwise."""
    try:
        with open(os.path.join(bundle, "config.json"), "rb", 0) as file:
            config = file.read()
    except FileNotFoundError:
        return container_id  # a sandbox without its own container
    if not any(name.encode() in config for name in GROUP_ANNOTATIONS):
        return container_id  # most have none: spare the start a JSON parser
    from runwasi.oci.decode import parse_json  # late: 2 ms

    document = parse_json(config)
    annotations = document.get("annotations") if isinstance(document, dict) else None
    for name in GROUP_ANNOTATIONS:
        group = annotations.get(name) if isinstance(annotations, dict) else None
        if isinstance(group, str) and group:
            return group
    return container_id


def socket_path(containerd: str, namespace: str, group: str, directory: str = "") -> str:
    """Return the path of a pod server's socket, for the containerd at this address."""
    # not os.path.join: an absolute group, which an annotation may name, would stand for another namespace's pod
    digest = sha256(f"{containerd}/{namespace}/{group}".encode()).hexdigest()
    return f"{directory or DEFAULT_DIRECTORY}/{digest}"


def listen_or_find(
    path: str, kind: int = thin_socket.SOCK_STREAM, backlog: int = _BACKLOG, *, wait: bool = True
) -> int | None:
    """Listen at path and return the socket, or None if a server answers there already.

    Replaces a killed server's file. A lock orders concurrent starts in one pod, so that none removes what another
    has just made. Raises OSError, BlockingIOError if another holds the lock and wait is off.
    """
    directory = os.path.dirname(path)
    os.makedirs(directory, 0o700, exist_ok=True)
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.lexists(path):
            if answers(path, kind):
                return None
            os.unlink(path)
        sock = thin_socket.socket(thin_socket.AF_UNIX, kind | thin_socket.SOCK_CLOEXEC)
        return thin_socket.listen_at(sock, path, path, 0o600, backlog)
    finally:
        os.close(lock)


def answers(path: str, kind: int = thin_socket.SOCK_STREAM) -> bool:
    """Return whether a server listens at path."""
    sock = thin_socket.socket(
        thin_socket.AF_UNIX, kind | thin_socket.SOCK_CLOEXEC | thin_socket.SOCK_NONBLOCK
    )
    try:
        sock.connect(path)
    except BlockingIOError:
        return True  # its backlog is full: it exists, and is busy
    except OSError:
        return False
    finally:
        sock.close()
    return True
