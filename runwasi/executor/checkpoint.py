"""Checkpoint and restore of native containers through CRIU's program.

CRIU writes a process tree to files and makes it anew from them. What lies outside the container it must be told:
the streams, the namespaces that were joined and the mounts that came from the host. Source: man 8 criu.
"""

from __future__ import annotations

import os

from runwasi.executor import limits
from runwasi.executor.claim import claim
from runwasi.executor.errors import ContainerError, Invalid, describe
from runwasi.executor.settle import write_pid_file
from runwasi.executor.spawning import KINDS
from runwasi.executor.status import require
from runwasi.executor.undo import Undo
from runwasi.linux import namespaces, process, sockets
from runwasi.linux.mounts import MS_BIND, MS_REC, MS_SLAVE, mount
from runwasi.oci.decode import parse_json
from runwasi.oci.encode import dumps
from runwasi.oci.record import replaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from runwasi.executor.bundle import Bundle
    from runwasi.executor.container import Container
    from runwasi.executor.options import CreateOptions
    from runwasi.oci.linux import Linux

STREAMS = "descriptors.json"
"""File of the image with what the container's 0, 1 and 2 were, as CRIU names them."""

_SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What host's files the mounts show is found out by CRIU itself, which follows their peer groups.
_COMMON = ("--manage-cgroups=ignore", "--external", "mnt[]:ms", "--enable-external-sharing")


class CheckpointOptions:
    """Options of checkpoint and restore, named as CRIU names them.

    image_path  folder of the image
    work_path   folder of CRIU's log and other files, the image's own without
    parent_path folder of an earlier pre-dump, relative to image_path
    flags       those of CRIU's switches that were asked for: "tcp-established", "ext-unix-sk", "shell-job" ...
    """

    __slots__ = ("flags", "image_path", "leave_running", "parent_path", "pre_dump", "work_path")

    def __init__(
        self,
        image_path: str,
        *,
        work_path: str = "",
        parent_path: str = "",
        flags: Sequence[str] = (),
        leave_running: bool = False,
        pre_dump: bool = False,
    ) -> None:
        self.image_path = os.path.abspath(image_path)
        self.work_path = os.path.abspath(work_path or image_path)
        self.parent_path = parent_path
        self.flags = tuple(flags)
        self.leave_running = leave_running
        self.pre_dump = pre_dump


def checkpoint(container: Container, options: CheckpointOptions) -> None:
    """Write a running container to the image folder; unless it is left running, it has stopped then.

    Raises WrongStatus, Invalid for a wasm container, ContainerError with CRIU's reason.
    """
    require("checkpoint", container.id, container.status())
    if runs_wasm(container.pid):
        raise Invalid(f"container {container.id} runs WebAssembly, which cannot be checkpointed")
    os.makedirs(options.image_path, 0o700, exist_ok=True)
    os.makedirs(options.work_path, 0o700, exist_ok=True)
    streams = [_stream(container.pid, number) for number in (0, 1, 2)]
    with open(f"{options.image_path}/{STREAMS}", "wb", 0) as file:
        file.write(dumps(streams).encode())
    arguments = ["pre-dump" if options.pre_dump else "dump", "--tree", str(container.pid)]
    arguments += _places(options, "dump.log")
    for stream in streams:
        arguments += ["--external", stream]
    for kind, inode in _joined(container.spec.linux, container.pid):
        arguments += ["--external", f"{kind}[{inode}]:{_key(kind)}"]
    if options.parent_path:
        arguments += ["--prev-images-dir", options.parent_path]
    if options.parent_path or options.pre_dump:
        arguments += ["--track-mem"]
    if options.leave_running:
        arguments += ["--leave-running"]
    _run([*arguments, *_COMMON, *_switches(options)], f"{options.work_path}/dump.log")


def restore(
    root: str, container_id: str, bundle: Bundle, options: CreateOptions, images: CheckpointOptions
) -> Container:
    """Bring a container back from an image folder, running; its first process is a child of ours.

    Raises AlreadyExists, Invalid, SpecError or ContainerError with nothing left behind.
    """
    bundle.check()
    if not os.path.isfile(f"{images.image_path}/{STREAMS}"):
        raise Invalid(f"image {images.image_path}: not a checkpoint of a container, {STREAMS} is missing")
    os.makedirs(images.work_path, 0o700, exist_ok=True)
    with Undo() as undo:
        container = claim(root, container_id, bundle, options, undo)
        limits.apply(container.cgroup, bundle.spec.linux.resources)
        pid = _restore(container, bundle, options, images)
        container.save(replaced(container.saved, pid=pid, start_time=process.start_time(pid)))
        if options.pid_file:
            write_pid_file(options.pid_file, pid)
        return container
    raise AssertionError("unreachable")  # the block returns or raises


def runs_wasm(pid: int) -> bool:
    """Say whether the process is still this interpreter, and so runs a module rather than a program."""
    try:
        theirs, ours = os.stat(f"/proc/{pid}/exe"), os.stat("/proc/self/exe")
    except OSError:
        return False
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def _restore(container: Container, bundle: Bundle, options: CreateOptions, images: CheckpointOptions) -> int:
    """Have CRIU make the processes in the container's cgroup; return the first one's pid."""
    pid_file = f"{images.work_path}/{container.id}.pid"
    arguments = ["restore", "--restore-detached", "--restore-sibling", "--pidfile", pid_file]
    arguments += [*_places(images, "restore.log"), "--root", bundle.rootfs]
    streams = options.stdio.fds()
    for stream, fd in zip(_streams(images.image_path), streams, strict=True):
        arguments += ["--inherit-fd", f"fd[{fd}]:{stream}"]
    opened = _open_joined(bundle.spec.linux)
    for kind, fd in opened:
        arguments += ["--inherit-fd", f"fd[{fd}]:{_key(kind)}"]
    inherited = (*streams, *(fd for _, fd in opened))

    def prepare() -> None:
        container.cgroup.enter(os.getpid())
        namespaces.unshare(namespaces.CLONE_NEWNS)
        mount(None, "/", None, MS_SLAVE | MS_REC)
        mount(bundle.rootfs, bundle.rootfs, None, MS_BIND | MS_REC)  # CRIU wants the root to be a mount
        for fd in inherited:
            os.set_inheritable(fd, True)

    try:
        _run([*arguments, *_COMMON, *_switches(images)], f"{images.work_path}/restore.log", prepare)
    finally:
        sockets.close_all(fd for _, fd in opened)
    with open(pid_file, "rb", 0) as file:
        pid = int(file.read())
    os.unlink(pid_file)
    return pid


def _run(arguments: list[str], log: str, prepare: Callable[[], None] | None = None) -> None:
    """Run CRIU to its end. Raises ContainerError with the first error in its log."""
    program = _program()
    child = process.fork_into()
    if child is None:
        _become(program, arguments, prepare)
    code = process.reap(child.pidfd)
    os.close(child.pidfd)
    if code == _NOT_STARTED:
        raise ContainerError(f"{program} could not be started")
    if code:
        raise ContainerError(
            f"criu {arguments[0]} failed with status {code}: {_first_error(log)} (see {log})"
        )


_NOT_STARTED = 127


def _become(program: str, arguments: list[str], prepare: Callable[[], None] | None) -> NoReturn:
    try:
        if prepare is not None:
            prepare()
        os.execv(program, [program, *arguments])
    except OSError as error:
        os.write(2, f"runwasi: {describe(error)}\n".encode())
    os._exit(_NOT_STARTED)


def _program() -> str:
    for folder in _SEARCHED.split(":"):
        if os.access(f"{folder}/criu", os.X_OK):
            return f"{folder}/criu"
    raise ContainerError("criu is not installed; checkpoint and restore are its work (package criu)")


def _first_error(log: str) -> str:
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            for line in file:
                if "Error (" in line:
                    return line.partition("Error ")[2].strip()
    except OSError:
        pass
    return "no reason given"


_EXTERNAL_KINDS = ("net", "pid")  # those that CRIU can leave to us


def _key(kind: str) -> str:
    return f"extRoot{kind.capitalize()}NS"


def _joined(linux: Linux, pid: int) -> list[tuple[str, int]]:
    """Return kind and inode of each namespace that was joined and that CRIU must leave alone."""
    kinds = [KINDS.get(item.type, item.type) for item in linux.namespaces if item.path]
    return [(kind, os.stat(f"/proc/{pid}/ns/{kind}").st_ino) for kind in kinds if kind in _EXTERNAL_KINDS]


def _open_joined(linux: Linux) -> list[tuple[str, int]]:
    """Open the namespaces to join that CRIU leaves to us."""
    found = []
    for item in linux.namespaces:
        kind = KINDS.get(item.type, item.type)
        if item.path and kind in _EXTERNAL_KINDS:
            found.append((kind, namespaces.open_namespace(item.path, kind)))
    return found


def _stream(pid: int, number: int) -> str:
    """Name a descriptor of a process as CRIU does: a pipe by its inode, another file by mount and inode."""
    path = f"/proc/{pid}/fd/{number}"
    target = os.readlink(path)
    if target.startswith(("pipe:", "socket:")):
        return target
    with open(f"/proc/{pid}/fdinfo/{number}", "rb", 0) as file:
        mount_id = next(line.split()[1] for line in file.read().splitlines() if line.startswith(b"mnt_id:"))
    return f"file[{int(mount_id):x}:{os.stat(path).st_ino:x}]"


def _streams(image_path: str) -> list[str]:
    with open(f"{image_path}/{STREAMS}", "rb", 0) as file:
        return [str(stream) for stream in parse_json(file.read())]


def _places(options: CheckpointOptions, log: str) -> list[str]:
    return ["--images-dir", options.image_path, "--work-dir", options.work_path, "--log-file", log, "-v4"]


def _switches(options: CheckpointOptions) -> list[str]:
    return [f"--{flag}" for flag in options.flags]
