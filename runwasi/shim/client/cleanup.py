"""`delete`: remove what the server of a container left when it died, and say how the container ended.

containerd runs it after a crash, and after every orderly end too, so it looks before it imports anything
heavy.
"""

from __future__ import annotations

import os

from runwasi.shim.state_root import noted_root, state_root
from runwasi.wire.messages.task import DeleteResponse
from runwasi.wire.messages.well_known import Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.shim.flags import Flags

_KILLED = 137  # 128 + SIGKILL: nobody is left who knows better


def delete(flags: Flags, engine: str) -> bytes:
    """Remove processes, mounts, cgroups and state of a container, as far as there are any; returns the
    answer.

    Raises ContainerError, OSError.
    """
    import time

    bundle = flags.bundle or bundle_beside(os.getcwd(), flags.id)
    root = state_root(engine, flags.namespace, noted_root(bundle))
    if os.path.lexists(f"{root}/{flags.id}"):
        from runwasi.executor.container import delete_forced  # late: 15 ms

        delete_forced(root, flags.id)
    if _is_mounted(f"{bundle}/rootfs"):
        from runwasi.shim.services.rootfs_mounts import unmount_rootfs  # late: 1 ms

        unmount_rootfs(bundle)
    _remove_dead_socket(bundle)
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    exited_at = Timestamp(seconds=seconds, nanos=nanoseconds)
    return DeleteResponse(pid=_init_pid(bundle), exit_status=_KILLED, exited_at=exited_at).encode()


def is_needed(flags: Flags, engine: str) -> bool:
    """Tell whether there is more to remove than files of the bundle, which flags name. Raises OSError."""
    root = state_root(engine, flags.namespace, noted_root(flags.bundle))
    return os.path.lexists(f"{root}/{flags.id}") or _is_mounted(f"{flags.bundle}/rootfs")


def bundle_beside(other: str, container_id: str) -> str:
    """Return the bundle of a container, where another bundle of its namespace is known."""
    return os.path.join(os.path.dirname(other), container_id)


def _is_mounted(path: str) -> bool:
    with open("/proc/self/mountinfo", "rb", 0) as file:
        return f" {os.path.realpath(path)}".encode() in file.read()


def _remove_dead_socket(bundle: str) -> None:
    """Remove the socket of a server that was killed; one that answers serves other containers of the pod."""
    from runwasi.shim.pod_socket import answers

    try:
        with open(f"{bundle}/address", encoding="utf-8") as file:
            path = file.read().removeprefix("unix://")
        if not answers(path):
            os.unlink(path)
    except FileNotFoundError:
        return


def _init_pid(bundle: str) -> int:
    try:
        with open(f"{bundle}/init.pid", "rb", 0) as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0
