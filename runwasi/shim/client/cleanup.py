"""`delete`: removes what a container's dead server left, and reports how the container ended.

containerd runs it after a crash, but also after every orderly end, so it looks around before it imports
anything heavy.
"""

from __future__ import annotations

import os

from runwasi.node.state_roots import shim_root
from runwasi.shim.state_root import noted_root
from runwasi.startup import installation
from runwasi.wire.messages.task import DeleteResponse
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.shim.flags import Flags

_KILLED = 137  # 128 + SIGKILL: nobody knows the real status


def delete(flags: Flags, engine: str) -> bytes:
    """Remove a container's processes, mounts, cgroups and state, as far as they exist; return the
    answer.

    Raises ContainerError, OSError.
    """
    bundle = flags.bundle or bundle_beside(os.getcwd(), flags.id)
    if has_state(bundle, flags, engine):
        from runwasi.executor.lifecycle.deletion import delete_forced  # late: 15 ms
        from runwasi.linux.waiting import finish

        finish(delete_forced(_root(bundle, flags, engine), flags.id))
    if _is_mounted(f"{bundle}/rootfs"):
        from runwasi.shim.services.rootfs.rootfs_mounts import unmount_all  # late: 1 ms

        unmount_all(bundle)
    answered = answer(bundle)
    if _has_containers(_root(bundle, flags, engine)):
        installation.leave(comes_delete=True)  # the server may have died with several
    return answered


def has_state(bundle: str, flags: Flags, engine: str) -> bool:
    """Return whether there is anything to remove outside the bundle."""
    return os.path.lexists(f"{_root(bundle, flags, engine)}/{flags.id}")


def answer(bundle: str) -> bytes:
    """Remove the socket's file, all that is left, and return the answer to print."""
    import time

    _remove_dead_socket(bundle)
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    exited_at = Timestamp(seconds=seconds, nanos=nanoseconds)
    return DeleteResponse(pid=_init_pid(bundle), exit_status=_KILLED, exited_at=exited_at).encode()


def socket_of(bundle: str) -> str:
    """Return the socket of a bundle's pod server; "" if the server never got that far."""
    try:
        with open(f"{bundle}/address", encoding="utf-8") as file:
            return file.read().removeprefix("unix://")
    except FileNotFoundError:
        return ""


def bundle_beside(other: str, container_id: str) -> str:
    """Return a container's bundle, given another bundle of its namespace."""
    return os.path.join(os.path.dirname(other), container_id)


def _root(bundle: str, flags: Flags, engine: str) -> str:
    return shim_root(engine, flags.namespace, noted_root(bundle))


def _has_containers(root: str) -> bool:
    try:
        return bool(os.listdir(root))
    except FileNotFoundError:
        return False


def _is_mounted(path: str) -> bool:
    with open("/proc/self/mountinfo", "rb", 0) as file:
        return f" {os.path.realpath(path)}".encode() in file.read()


def _remove_dead_socket(bundle: str) -> None:
    """Remove a killed server's socket, and ask one that answers to end.

    It does unless it serves other containers of the pod. Without any, nobody else would ask it: so it is when
    containerd died before it read the address, or could not.
    """
    path = socket_of(bundle)
    try:
        if path and not _asked_to_end(path):
            os.unlink(path)
    except FileNotFoundError:
        return


def _asked_to_end(path: str) -> bool:
    """Send Shutdown, as containerd does after each Delete, without waiting; return whether a server listens."""
    from runwasi.startup import thin_socket
    from runwasi.wire.messages.ttrpc import Request
    from runwasi.wire.ttrpc_frames import REQUEST, frame

    kind = thin_socket.SOCK_STREAM | thin_socket.SOCK_CLOEXEC | thin_socket.SOCK_NONBLOCK
    sock = thin_socket.socket(thin_socket.AF_UNIX, kind)
    try:
        sock.connect(path)
        sock.send(frame(1, REQUEST, Request(service="containerd.task.v2.Task", method="Shutdown").encode()))
    except BlockingIOError:
        pass  # its backlog is full: it exists, and is busy
    except OSError:
        return False
    finally:
        sock.close()
    return True


def _init_pid(bundle: str) -> int:
    try:
        with open(f"{bundle}/init.pid", "rb", 0) as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0
