"""Checkpoints a native container: CRIU writes its processes to an image, and restore makes them from it again.

We must tell CRIU what lies outside the container: the streams it was given, the namespaces it joined and the
mounts that show the host's files. Each gets a key in the image, for which restore names a replacement.
"""

from __future__ import annotations

import os
from posixpath import normpath
from stat import S_ISCHR

from runwasi.engines.annotation_names import CRIU_CONFIG
from runwasi.executor.criu import criu_service
from runwasi.executor.errors import ContainerError, Invalid
from runwasi.executor.lifecycle.status import require
from runwasi.executor.lifecycle.store import WASM
from runwasi.executor.mounts.mount_options import parse
from runwasi.executor.parent.namespace_fork import KINDS
from runwasi.executor.plan.check_annotations import check_unsafe
from runwasi.linux.beneath import open_in_root
from runwasi.linux.mounts import mount_id, mounts_of
from runwasi.linux.namespaces import CLONE_NEWNET
from runwasi.oci.encode import dumps
from runwasi.oci.record import Record
from runwasi.wire.messages.criu import Notification, PageServer, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runwasi.executor.lifecycle.container import Container
    from runwasi.oci.spec import Mount, Spec

STREAMS = "descriptors.json"
"""The file of the image that names the container's 0, 1 and 2; runc has the same one."""

INVENTORY = "inventory.img"
"""File that CRIU's every image has."""

EXTERNAL_KINDS = ("net", "pid")
"""Kinds of joined namespaces that CRIU can leave to us; the others it saves and joins."""

_TERMINALS = frozenset((4, 5, *range(136, 144)))  # majors of Documentation/admin-guide/devices.txt


class CheckpointOptions(Record):
    """Options of checkpoint and restore, named as runc names them.

    image_path  folder of the image
    work_path   folder of CRIU's log and other files; the image's own without
    parent_path folder of an earlier pre-dump, relative to image_path
    page_server address and port that memory pages are sent to
    status_fd   descriptor that gets a zero byte once lazy pages can be fetched
    """

    image_path: str
    work_path: str = ""
    parent_path: str = ""
    leave_running: bool = False
    pre_dump: bool = False
    tcp_established: bool = False
    tcp_skip_in_flight: bool = False
    ext_unix_sk: bool = False
    link_remap: bool = False
    shell_job: bool = False
    file_locks: bool = False
    auto_dedup: bool = False
    lazy_pages: bool = False
    page_server: tuple[str, int] | None = None
    status_fd: int | None = None
    cgroups_mode: str = ""
    lsm_profile: str = ""
    lsm_mount_context: str = ""


def checkpoint(container: Container, options: CheckpointOptions) -> None:
    """Write a running or paused container to the image folder, then stop it unless it shall run on.

    Raises WrongStatus, Invalid for a wasm container or a wrong parent, ContainerError with CRIU's reason; the
    container then runs on.
    """
    require("checkpoint", container.id, container.status())
    if container.kind == WASM:
        raise Invalid(
            f"container {container.id} runs WebAssembly, which cannot be checkpointed: its process is the engine's"
            " and not of a program in the container, from which criu could bring it back"
        )
    if options.lazy_pages:
        criu_service.require_feature("lazy_pages", "--lazy-pages")
    if options.pre_dump:
        criu_service.require_feature("mem_track", "--pre-dump")
    _make_folders(options)
    mounts = mounts_of(container.pid)
    streams = [_stream(container.pid, number, mounts) for number in (0, 1, 2)]
    external = [key for stream in streams if (key := _external_stream(stream))]
    if not options.pre_dump:
        with open(f"{options.image_path}/{STREAMS}", "wb", 0) as file:
            file.write(dumps(streams).encode())
        external += _bind_mounts(container, mounts)
    external += _joined(container)
    with criu_service.CriuFolders(options.image_path, options.work_path, "dump.log") as folders:
        request = Request(
            type=criu_service.PRE_DUMP if options.pre_dump else criu_service.DUMP,
            opts=folders.options(
                **common(options, container.spec),
                pid=container.pid,
                root=container.saved.rootfs,
                external=external,
                leave_running=options.leave_running,
                tcp_skip_in_flight=options.tcp_skip_in_flight,
                link_remap=options.link_remap,
                parent_img=options.parent_path,
                track_mem=bool(options.parent_path) or options.pre_dump,
                freeze_cgroup=_freezer(container),
                ps=_page_server(options),
            ),
        )
        with criu_service.CriuService() as service:
            service.ask(request, folders.log, lambda heard, _: tell_status(heard, options.status_fd))


def common(options: CheckpointOptions, spec: Spec) -> dict[str, object]:
    """Return CRIU's options that checkpoint and restore share."""
    more: dict[str, object] = {}
    if options.cgroups_mode:
        more["manage_cgroups_mode"] = criu_service.CGROUPS_MODES[options.cgroups_mode]
    return {
        "tcp_established": options.tcp_established,
        "ext_unix_sk": options.ext_unix_sk,
        "shell_job": options.shell_job,
        "file_locks": options.file_locks,
        "auto_dedup": options.auto_dedup,
        "lazy_pages": options.lazy_pages,
        "orphan_pts_master": True,
        # CRIU itself finds out what a mount shows below a bind, and its peer group
        "auto_ext_mnt": True,
        "ext_sharing": True,
        "ext_masters": True,
        # network devices come from outside, by hooks or by path, and are there again before the sockets are
        "empty_ns": CLONE_NEWNET,
        "config_file": _config_file(spec),
        **more,
    }


def _config_file(spec: Spec) -> str:
    """Return the file of CRIU options that override ours, "" for none. Raises SpecError."""
    if CRIU_CONFIG not in spec.annotations:
        return "/etc/criu/runwasi.conf"
    check_unsafe(spec.annotations)  # the node's configuration may have changed since the container was made
    return spec.annotations[CRIU_CONFIG]


def is_bind(mount: Mount) -> bool:
    """Return whether a mount of the configuration shows files of the host."""
    return mount.type == "bind" or parse(mount.options).bind


def mount_key(mount: Mount) -> str:
    """Return the key of a bind mount in the image: its destination in the configuration."""
    return normpath(f"/{mount.destination}")


def namespace_key(kind: str) -> str:
    """Return the key of a joined namespace in the image; runc has the same."""
    return f"extRoot{kind.capitalize()}NS"


def tell_status(heard: Notification, status_fd: int | None) -> None:
    """Tell the caller that lazy pages can be fetched now."""
    if heard.script == "status-ready" and status_fd is not None:
        os.write(status_fd, b"\0")
        os.close(status_fd)


def _make_folders(options: CheckpointOptions) -> None:
    parent = options.parent_path
    if os.path.isabs(parent):
        raise Invalid("parent path must be relative to the folder of the checkpoint")
    for folder in (options.image_path, options.work_path):
        if folder:
            try:
                os.makedirs(folder, 0o700, exist_ok=True)
            except OSError as error:
                raise ContainerError(f"folder {folder}: {error.strerror}", errno=error.errno or 0) from None
    if parent and not os.path.isdir(path := os.path.join(options.image_path, parent)):
        raise Invalid(f"parent path {path}: no such directory")


def _stream(pid: int, number: int, mounts: dict[int, str]) -> str:
    """Name a stream: in CRIU's form if it came from outside, by its path if it is the container's own."""
    path = f"/proc/{pid}/fd/{number}"
    try:
        target = os.readlink(path)
    except FileNotFoundError:  # closed by the program
        return ""
    if target.startswith(("pipe:", "socket:")):
        return target
    on_mount = mount_id(pid, number)
    if on_mount in mounts:
        return target
    found = os.stat(path)
    if S_ISCHR(found.st_mode) and os.major(found.st_rdev) in _TERMINALS:
        return f"tty[{found.st_rdev:x}:{found.st_dev:x}]"
    return f"file[{on_mount:x}:{found.st_ino:x}]"


def _external_stream(stream: str) -> str:
    """Return what to tell CRIU about a stream at the dump: nothing about pipes and the container's own files."""
    if stream.startswith("socket:"):
        return f"unix{stream.removeprefix('socket:')}"
    return stream if stream.startswith(("file[", "tty[")) else ""


def _bind_mounts(container: Container, mounts: dict[int, str]) -> Iterator[str]:
    """Yield each bind mount with its key; the mount's id tells where a link of the image led it."""
    root_fd = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for mount in container.spec.mounts:
            if not is_bind(mount):
                continue
            try:
                fd = open_in_root(root_fd, mount.destination, os.O_PATH)
            except OSError:  # unmounted by the container
                continue
            try:
                point = mounts.get(mount_id("self", fd), "/")
            finally:
                os.close(fd)
            if point != "/":
                yield f"mnt[{point}]:{mount_key(mount)}"
    finally:
        os.close(root_fd)


def _joined(container: Container) -> Iterator[str]:
    """Yield each joined namespace, which CRIU must leave alone, with its key."""
    for item in container.spec.linux.namespaces:
        kind = KINDS.get(item.type, item.type)
        if item.path and kind in EXTERNAL_KINDS:
            yield f"{kind}[{os.stat(f'/proc/{container.pid}/ns/{kind}').st_ino}]:{namespace_key(kind)}"


def _freezer(container: Container) -> str:
    """Return the cgroup that lets CRIU stop all processes at once, "" if there is no freezer."""
    return container.cgroup.paths().get("freezer" if container.cgroup.version == 1 else "", "")


def _page_server(options: CheckpointOptions) -> PageServer | None:
    if options.page_server is None:
        return None
    address, port = options.page_server
    return PageServer(address=address, port=port)
