"""Forwards readiness messages from a container to the service manager.

If $NOTIFY_SOCKET is set, we mount our own socket into the container, and name it in its environment. Once the
program says READY=1 there, we tell the service manager, with MAINPID. The socket's folder is beside the state
root, because it must exist before the container's own folder. Source: man 3 sd_notify.
"""

from __future__ import annotations

import os
import select

from runwasi.linux.sockets import connect, send_fds
from runwasi.startup import thin_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.lifecycle.container import Container
    from runwasi.executor.plan.bundle import Bundle

_INSIDE = "/run/notify"
_NAME = "notify.sock"
_BARRIER_SECONDS = 30


def prepared(bundle: Bundle, root: str, container_id: str) -> Bundle:
    """Return the bundle with the socket's folder mounted into it, if there is a service manager."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return bundle
    from runwasi.cli.activation import with_environment
    from runwasi.executor.plan.bundle import Bundle  # late: only under a service manager
    from runwasi.oci.record import replaced
    from runwasi.oci.spec import Mount

    folder = _folder(root, container_id)
    os.makedirs(folder, 0o755, exist_ok=True)
    mount = Mount(destination=_INSIDE, source=folder, options=("bind", "nosuid", "noexec", "nodev", "ro"))
    spec = replaced(bundle.spec, mounts=(*bundle.spec.mounts, mount))
    return with_environment(Bundle(bundle.path, spec, bundle.raw), f"NOTIFY_SOCKET={_INSIDE}/{_NAME}")


def relay(root: str, container_id: str) -> Relay | None:
    """Bind the container's notify socket, if there is a service manager and `prepared` was called."""
    host = os.environ.get("NOTIFY_SOCKET")
    folder = _folder(root, container_id)
    if not host or not os.path.isdir(folder):
        return None
    return Relay(folder, host)


def remove(root: str, container_id: str) -> None:
    """Remove the socket and its folder, if they exist."""
    folder = _folder(root, container_id)
    try:
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)
        os.rmdir(os.path.dirname(folder))
    except OSError:  # missing, or other containers' folders are beside it
        return


def _folder(root: str, container_id: str) -> str:
    return f"{root}.notify/{container_id}"


class Relay:
    """The container's end of the protocol, and the way to the service manager's socket `host`."""

    def __init__(self, folder: str, host: str) -> None:
        self._host = f"\0{host[1:]}" if host.startswith("@") else host
        self._socket = thin_socket.socket(
            thin_socket.AF_UNIX, thin_socket.SOCK_DGRAM | thin_socket.SOCK_CLOEXEC
        )
        directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:  # through the descriptor, as sun_path is short
            path = f"/proc/self/fd/{directory}/{_NAME}"
            if os.path.lexists(path):
                os.unlink(path)
            self._socket.bind(path)
            os.chmod(path, 0o777)  # the program's user is unknown; the folder protects the socket
        finally:
            os.close(directory)

    def fileno(self) -> int:
        """Return the descriptor that is readable when the program has sent a message."""
        return self._socket.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def forward(self, main_pid: int) -> bool:
        """Receive one message; if it says READY=1, tell the service manager with main_pid, and return True."""
        message = self._socket.recv(4096)
        ready = [line for line in message.split(b"\n") if line.startswith(b"READY=")]
        if not ready:
            return False
        host = connect(self._host, thin_socket.SOCK_DGRAM)
        try:
            os.write(host, ready[0] + b"\n")
            os.write(host, b"MAINPID=%d\n" % main_pid)
            _wait_for_barrier(host)
        finally:
            os.close(host)
        return True

    def wait(self, container: Container) -> None:
        """Forward until the program is ready or gone."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        pidfd = container.open_pidfd()
        poll.register(pidfd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self.fileno() in ready and self.forward(container.pid):
                break
            if pidfd in ready:
                break
        self.close()


def _wait_for_barrier(host: int) -> None:
    """Wait until the service manager has handled all messages; it closes a descriptor then."""
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            send_fds(host, b"BARRIER=1", [write])
        finally:
            os.close(write)
        poll = select.poll()
        poll.register(read, 0)  # POLLHUP is always reported
        poll.poll(_BARRIER_SECONDS * 1000)
    finally:
        os.close(read)
