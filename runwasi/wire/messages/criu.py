"""Generated from criu.proto by scripts/generate_protos.py."""

from __future__ import annotations

from runwasi.wire.codec import BOOL, INT32, STRING, UINT, Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class PageServer(Message):
    """criu.PageServer."""

    NAME = "criu.PageServer"

    address: str = ""
    port: int = 0

    FIELDS = (
        (1, "address", STRING),
        (2, "port", INT32),
    )


class CgroupRoot(Message):
    """criu.CgroupRoot."""

    NAME = "criu.CgroupRoot"

    ctrl: str = ""
    path: str = ""

    FIELDS = (
        (1, "ctrl", STRING),
        (2, "path", STRING),
    )


class InheritedFd(Message):
    """criu.InheritedFd."""

    NAME = "criu.InheritedFd"

    key: str = ""
    fd: int = 0

    FIELDS = (
        (1, "key", STRING),
        (2, "fd", INT32),
    )


class JoinedNamespace(Message):
    """criu.JoinedNamespace."""

    NAME = "criu.JoinedNamespace"

    ns: str = ""
    ns_file: str = ""

    FIELDS = (
        (1, "ns", STRING),
        (2, "ns_file", STRING),
    )


class Options(Message):
    """criu.Options."""

    NAME = "criu.Options"

    images_dir_fd: int = 0
    pid: int = 0
    leave_running: bool = False
    ext_unix_sk: bool = False
    tcp_established: bool = False
    evasive_devices: bool = False
    shell_job: bool = False
    file_locks: bool = False
    log_level: int = 0
    log_file: str = ""
    ps: PageServer | None = None
    notify_scripts: bool = False
    root: str = ""
    parent_img: str = ""
    track_mem: bool = False
    auto_dedup: bool = False
    work_dir_fd: int = 0
    link_remap: bool = False
    cg_root: Sequence[CgroupRoot] = ()
    rst_sibling: bool = False
    inherit_fd: Sequence[InheritedFd] = ()
    auto_ext_mnt: bool = False
    ext_sharing: bool = False
    ext_masters: bool = False
    manage_cgroups_mode: int = 0
    external: Sequence[str] = ()
    empty_ns: int = 0
    join_ns: Sequence[JoinedNamespace] = ()
    freeze_cgroup: str = ""
    tcp_skip_in_flight: bool = False
    lazy_pages: bool = False
    orphan_pts_master: bool = False
    config_file: str = ""
    lsm_profile: str = ""
    lsm_mount_context: str = ""

    FIELDS = (
        (1, "images_dir_fd", INT32),
        (2, "pid", INT32),
        (3, "leave_running", BOOL),
        (4, "ext_unix_sk", BOOL),
        (5, "tcp_established", BOOL),
        (6, "evasive_devices", BOOL),
        (7, "shell_job", BOOL),
        (8, "file_locks", BOOL),
        (9, "log_level", INT32),
        (10, "log_file", STRING),
        (11, "ps", PageServer),
        (12, "notify_scripts", BOOL),
        (13, "root", STRING),
        (14, "parent_img", STRING),
        (15, "track_mem", BOOL),
        (16, "auto_dedup", BOOL),
        (17, "work_dir_fd", INT32),
        (18, "link_remap", BOOL),
        (25, "cg_root", [CgroupRoot]),
        (26, "rst_sibling", BOOL),
        (27, "inherit_fd", [InheritedFd]),
        (28, "auto_ext_mnt", BOOL),
        (29, "ext_sharing", BOOL),
        (30, "ext_masters", BOOL),
        (34, "manage_cgroups_mode", INT32),
        (37, "external", [STRING]),
        (38, "empty_ns", UINT),
        (39, "join_ns", [JoinedNamespace]),
        (44, "freeze_cgroup", STRING),
        (46, "tcp_skip_in_flight", BOOL),
        (48, "lazy_pages", BOOL),
        (50, "orphan_pts_master", BOOL),
        (51, "config_file", STRING),
        (53, "lsm_profile", STRING),
        (63, "lsm_mount_context", STRING),
    )


class Features(Message):
    """criu.Features."""

    NAME = "criu.Features"

    mem_track: bool = False
    lazy_pages: bool = False

    FIELDS = (
        (1, "mem_track", BOOL),
        (2, "lazy_pages", BOOL),
    )


class Request(Message):
    """criu.Request."""

    NAME = "criu.Request"

    type: int = 0
    opts: Options | None = None
    notify_success: bool = False
    features: Features | None = None

    FIELDS = (
        (1, "type", INT32),
        (2, "opts", Options),
        (3, "notify_success", BOOL),
        (5, "features", Features),
    )


class RestoreResult(Message):
    """criu.RestoreResult."""

    NAME = "criu.RestoreResult"

    pid: int = 0

    FIELDS = (
        (1, "pid", INT32),
    )


class Notification(Message):
    """criu.Notification."""

    NAME = "criu.Notification"

    script: str = ""
    pid: int = 0

    FIELDS = (
        (1, "script", STRING),
        (2, "pid", INT32),
    )


class Response(Message):
    """criu.Response."""

    NAME = "criu.Response"

    type: int = 0
    success: bool = False
    restore: RestoreResult | None = None
    notify: Notification | None = None
    cr_errno: int = 0
    features: Features | None = None
    cr_errmsg: str = ""

    FIELDS = (
        (1, "type", INT32),
        (2, "success", BOOL),
        (4, "restore", RestoreResult),
        (5, "notify", Notification),
        (7, "cr_errno", INT32),
        (8, "features", Features),
        (9, "cr_errmsg", STRING),
    )
