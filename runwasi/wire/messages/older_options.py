"""Generated from older_options.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BOOL, STRING, UINT, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class CreateOptions(Message):
    """containerd.linux.runc.CreateOptions."""

    NAME = "containerd.linux.runc.CreateOptions"

    no_pivot_root: bool = False
    no_new_keyring: bool = False
    shim_cgroup: str = ""
    io_uid: int = 0
    io_gid: int = 0
    criu_work_path: str = ""
    criu_image_path: str = ""

    FIELDS = (
        (1, "no_pivot_root", BOOL),
        (8, "no_new_keyring", BOOL),
        (9, "shim_cgroup", STRING),
        (10, "io_uid", UINT),
        (11, "io_gid", UINT),
        (12, "criu_work_path", STRING),
        (13, "criu_image_path", STRING),
    )


class CheckpointOptions(Message):
    """containerd.linux.runc.CheckpointOptions."""

    NAME = "containerd.linux.runc.CheckpointOptions"

    exit: bool = False
    open_tcp: bool = False
    external_unix_sockets: bool = False
    terminal: bool = False
    file_locks: bool = False
    empty_namespaces: Sequence[str] = ()
    cgroups_mode: str = ""
    work_path: str = ""
    image_path: str = ""

    FIELDS = (
        (1, "exit", BOOL),
        (2, "open_tcp", BOOL),
        (3, "external_unix_sockets", BOOL),
        (4, "terminal", BOOL),
        (5, "file_locks", BOOL),
        (6, "empty_namespaces", [STRING]),
        (7, "cgroups_mode", STRING),
        (8, "work_path", STRING),
        (9, "image_path", STRING),
    )
