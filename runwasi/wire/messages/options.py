"""Generated from options.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BOOL, STRING, UINT, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Options(Message):
    """containerd.runc.v1.Options."""

    NAME = "containerd.runc.v1.Options"

    no_pivot_root: bool = False
    no_new_keyring: bool = False
    shim_cgroup: str = ""
    io_uid: int = 0
    io_gid: int = 0
    binary_name: str = ""
    root: str = ""
    systemd_cgroup: bool = False
    criu_image_path: str = ""
    criu_work_path: str = ""

    FIELDS = (
        (1, "no_pivot_root", BOOL),
        (2, "no_new_keyring", BOOL),
        (3, "shim_cgroup", STRING),
        (4, "io_uid", UINT),
        (5, "io_gid", UINT),
        (6, "binary_name", STRING),
        (7, "root", STRING),
        (9, "systemd_cgroup", BOOL),
        (10, "criu_image_path", STRING),
        (11, "criu_work_path", STRING),
    )


class CheckpointOptions(Message):
    """containerd.runc.v1.CheckpointOptions."""

    NAME = "containerd.runc.v1.CheckpointOptions"

    exit: bool = False
    open_tcp: bool = False
    external_unix_sockets: bool = False
    terminal: bool = False
    file_locks: bool = False
    empty_namespaces: Sequence[str] = ()
    cgroups_mode: str = ""
    image_path: str = ""
    work_path: str = ""
    parent_path: str = ""

    FIELDS = (
        (1, "exit", BOOL),
        (2, "open_tcp", BOOL),
        (3, "external_unix_sockets", BOOL),
        (4, "terminal", BOOL),
        (5, "file_locks", BOOL),
        (6, "empty_namespaces", [STRING]),
        (7, "cgroups_mode", STRING),
        (8, "image_path", STRING),
        (9, "work_path", STRING),
        (10, "parent_path", STRING),
    )


class ProcessDetails(Message):
    """containerd.runc.v1.ProcessDetails."""

    NAME = "containerd.runc.v1.ProcessDetails"

    exec_id: str = ""

    FIELDS = (
        (1, "exec_id", STRING),
    )
