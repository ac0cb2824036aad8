"""Restores a container: claims its id as create does, and has CRIU make its processes in its cgroup from an image."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack

from runwasi.executor.criu import criu_service
from runwasi.executor.criu.checkpoint import (
    EXTERNAL_KINDS,
    INVENTORY,
    STREAMS,
    common,
    is_bind,
    mount_key,
    namespace_key,
    tell_status,
)
from runwasi.executor.errors import ContainerError, Invalid, describe
from runwasi.executor.lifecycle import hooks
from runwasi.executor.limits import cgroup_limits
from runwasi.executor.mounts.apply_mounts import source_path
from runwasi.executor.parent import errands
from runwasi.executor.parent.claim import claim
from runwasi.executor.parent.namespace_fork import KINDS
from runwasi.executor.plan.sent_stdio import received
from runwasi.executor.process.process_settings import write_pid_file
from runwasi.executor.undo import Undo
from runwasi.linux import namespaces, network, processes, sockets
from runwasi.linux.beneath import make_dirs, make_file
from runwasi.linux.mounts import MS_BIND, MS_REC, mount
from runwasi.linux.waiting import finish
from runwasi.oci.decode import SpecError, parse_json
from runwasi.oci.record import replaced
from runwasi.wire.messages.criu import CgroupRoot, InheritedFd, JoinedNamespace, Notification, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.executor.criu.checkpoint import CheckpointOptions
    from runwasi.executor.lifecycle.container import Container
    from runwasi.executor.plan.bundle import Bundle
    from runwasi.executor.plan.create_options import CreateOptions
    from runwasi.linux.waiting import Operation
    from runwasi.oci.linux import IdMapping
    from runwasi.oci.spec import Mount


def _nothing() -> None:
    """Do nothing."""


def restore(
    root: str,
    container_id: str,
    bundle: Bundle,
    options: CreateOptions,
    images: CheckpointOptions,
    resuming: Callable[[], None] = _nothing,
) -> Container:
    """Bring a container back from an image folder, running; its first process is a child of ours.

    resuming is called when its processes are there and are about to run. Raises AlreadyExists, Invalid,
    SpecError or ContainerError with nothing left behind.
    """
    restoration = finish(begin_restore(root, container_id, bundle, options, images))
    restoration.run(resuming)
    return restoration.container


def begin_restore(
    root: str, container_id: str, bundle: Bundle, options: CreateOptions, images: CheckpointOptions
) -> Operation[Restoration]:
    """Claim the id and make the container's cgroup, without any process yet. Raises as restore does."""
    bundle.check()
    undo = Undo()
    return (yield from undo.around(_begin(root, container_id, bundle, options, images, undo)))


def _begin(
    root: str,
    container_id: str,
    bundle: Bundle,
    options: CreateOptions,
    images: CheckpointOptions,
    undo: Undo,
) -> Operation[Restoration]:
    def examined() -> errands.Answer:
        if images.lazy_pages:
            criu_service.require_feature("lazy_pages", "--lazy-pages")
        streams = _read_streams(images.image_path)
        _make_mount_points(bundle)
        return tuple(streams), ()

    container = claim(root, container_id, bundle, options, undo)
    answer = yield from errands.run(examined, f"looking at the image {images.image_path}")
    return Restoration(container, bundle, options, images, list(answer.fields), undo)


def _end(container: Container) -> None:
    """Kill the processes restored before a failure; the first one is our child, so reap it."""
    container.cgroup.kill()
    if container.pid:
        try:
            os.waitpid(container.pid, 0)
        except ChildProcessError:
            return


def _read_streams(image_path: str) -> list[str]:
    """Return the names of the streams at the dump. Raises Invalid for a folder without a checkpoint."""
    if not os.path.isdir(image_path):
        raise Invalid(f"image {image_path}: no such directory")
    for name in (INVENTORY, STREAMS):
        if not os.path.isfile(f"{image_path}/{name}"):
            raise Invalid(f"image {image_path}: not a checkpoint of a container, {name} is missing")
    with open(f"{image_path}/{STREAMS}", "rb", 0) as file:
        try:
            found = parse_json(file.read())
        except SpecError as error:
            raise Invalid(f"image {image_path}: {STREAMS}: {error}") from None
    if not isinstance(found, list) or len(found) != 3 or not all(isinstance(item, str) for item in found):
        raise Invalid(f"image {image_path}: {STREAMS} does not name three descriptors")
    return found


class Restoration:
    """A container on its way from claimed to running; the container has its pid once it has been run."""

    def __init__(
        self,
        container: Container,
        bundle: Bundle,
        options: CreateOptions,
        images: CheckpointOptions,
        streams: list[str],
        undo: Undo,
    ) -> None:
        self.container = container
        self._bundle = bundle
        self._options = options
        self._images = images
        self._streams = streams
        self._undo = undo
        self._inherited: list[InheritedFd] = []
        self._resuming = _nothing

    def run(self, resuming: Callable[[], None] = _nothing) -> None:
        """Have CRIU restore the processes. Raises ContainerError or Invalid with everything taken back."""
        self._resuming = resuming
        with self._undo as undo:
            undo.add(_end, self.container)
            self._restore()
            if self._options.pid_file:
                write_pid_file(self._options.pid_file, self.container.pid)

    def fds(self) -> tuple[int, ...]:
        """Return the caller's descriptors that run needs, for a fork that calls it."""
        console = self._options.console_socket
        return (console,) if console is not None else self._options.stdio.fds()

    def _restore(self) -> None:
        images = self._images
        if images.work_path:
            os.makedirs(images.work_path, 0o700, exist_ok=True)
        try:
            joined = self._join()
            self._connect()
            with ExitStack() as stack:
                with namespaces.private_mounts():
                    # CRIU asks for a root that is a mount
                    mount(self._bundle.rootfs, self._bundle.rootfs, None, MS_BIND | MS_REC)
                    folders = stack.enter_context(
                        criu_service.CriuFolders(images.image_path, images.work_path, "restore.log")
                    )
                    service = stack.enter_context(
                        criu_service.CriuService([item.fd for item in self._inherited])
                    )
                self._let_root_in()
                self.container.cgroup.enter(service.pid)
                cgroup_limits.apply(self.container.cgroup, self._bundle.spec.linux.resources)
                request = self._request(folders, joined, service.pid)
                service.ask(request, folders.log, self._heard)
        finally:
            sockets.close_all(item.fd for item in self._inherited)

    def _request(
        self, folders: criu_service.CriuFolders, joined: list[JoinedNamespace], criu_pid: int
    ) -> Request:
        spec, images = self._bundle.spec, self._images
        binds = [item for item in spec.mounts if is_bind(item)]
        return Request(
            type=criu_service.RESTORE,
            opts=folders.options(
                **common(images, spec),
                root=self._bundle.rootfs,
                rst_sibling=True,
                evasive_devices=True,
                inherit_fd=self._inherited,
                join_ns=joined,
                external=[f"mnt[{mount_key(item)}]:{source_path(item, self._bundle.path)}" for item in binds],
                cg_root=_cgroup_roots(criu_pid),
                lsm_profile=images.lsm_profile,
                lsm_mount_context=images.lsm_mount_context,
            ),
        )

    def _let_root_in(self) -> None:
        """Give the image's folder to the root of a user namespace: inside it, CRIU opens files there.

        It opens some before the ids are mapped, with our own: the folder's group is ours, and may search it.
        """
        linux = self._bundle.spec.linux
        folder = self._images.image_path
        mode = os.stat(folder).st_mode
        others_may_search = mode & 0o001
        if linux.has("user") and not others_may_search:
            os.chown(folder, _root_of(linux.uid_mappings), os.getegid())
            os.chmod(folder, stat.S_IMODE(mode) | 0o010)

    # what takes the place of what was outside

    def _connect(self) -> None:
        """Have our streams inherited in place of those that came from outside."""
        known = set[str]()
        for stream, fd in zip(self._streams, received(self._options.stdio), strict=True):
            if stream.startswith(("pipe:", "socket:", "file[", "tty[")) and stream not in known:
                known.add(stream)
                # CRIU looks for a file by what it takes for a path, the name without its first character, and
                # then takes the descriptor as it is; by the whole name, it must be just such a file again.
                self._inherit(stream.removeprefix("f") if stream.startswith("file[") else stream, fd)

    def _inherit(self, key: str, fd: int) -> None:
        # above the standard ones, which the message cannot name: 0 is the same as none there
        self._inherited.append(InheritedFd(key=key, fd=_above_standard(fd)))

    def _join(self) -> list[JoinedNamespace]:
        """Open the namespaces that CRIU leaves to us, and return those that it joins by itself."""
        joined = []
        for index, item in enumerate(self._bundle.spec.linux.namespaces):
            kind = KINDS.get(item.type, item.type)
            if not item.path:
                continue
            where = f"$.linux.namespaces[{index}]"
            if kind in ("cgroup", "time"):
                raise Invalid(f"criu cannot join a {item.type} namespace ({where}.path)")
            try:
                fd = namespaces.open_namespace(item.path, kind)
            except OSError as error:
                raise ContainerError(f"{describe(error)} ({where}.path)", errno=error.errno or 0) from None
            if kind in EXTERNAL_KINDS:
                self._inherit(namespace_key(kind), fd)
            else:
                joined.append(JoinedNamespace(ns=kind, ns_file=item.path))
            os.close(fd)
        return joined

    # what CRIU tells

    def _heard(self, heard: Notification, fds: list[int]) -> None:
        if heard.script == "setup-namespaces":
            self._set_up_namespaces(heard.pid)
        elif heard.script == "orphan-pts-master":
            self._hand_over_terminal(fds)
        elif heard.script == "post-restore":
            self._record(heard.pid)
            self._resuming()
        else:
            tell_status(heard, self._images.status_fd)

    def _set_up_namespaces(self, pid: int) -> None:
        """Set up the container's network while only its namespaces exist."""
        spec = self._bundle.spec
        if any(item.type == "network" and not item.path for item in spec.linux.namespaces):
            _bring_loopback_up(pid)
        state = replaced(self.container.oci_state("created"), pid=pid).to_json().encode()
        finish(hooks.run_all("prestart", spec.hooks.prestart, state))
        finish(hooks.run_all("createRuntime", spec.hooks.create_runtime, state))

    def _hand_over_terminal(self, fds: list[int]) -> None:
        console = self._options.console_socket
        if console is None:
            raise ContainerError(
                "the container has a terminal, and no console socket takes it: give --console-socket"
            )
        sockets.send_fd(console, fds[0], "/dev/ptmx")

    def _record(self, pid: int) -> None:
        """Note the first process down, so that it is found whatever becomes of us."""
        container = self.container
        container.save(replaced(container.saved, pid=pid, start_time=processes.start_time(pid)))


def _root_of(mappings: tuple[IdMapping, ...]) -> int:
    """Return the host's id of a namespace's id 0; -1, which chown ignores, if it has none."""
    return next((item.host_id for item in mappings if item.container_id == 0), -1)


def _above_standard(fd: int) -> int:
    from fcntl import F_DUPFD_CLOEXEC, fcntl  # late: only here

    return fcntl(fd, F_DUPFD_CLOEXEC, 3)


def _bring_loopback_up(pid: int) -> None:
    fd = namespaces.open_namespace(f"/proc/{pid}/ns/net", "net")
    try:
        with namespaces.entered(fd, "net"):
            network.loopback_up()
    finally:
        os.close(fd)


def _cgroup_roots(pid: int) -> list[CgroupRoot]:
    """Return the cgroups of a process by controller: CRIU puts restored processes below them."""
    roots = []
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            roots += [CgroupRoot(ctrl=controller, path=path) for controller in controllers.split(",")]
    return roots


def _make_mount_points(bundle: Bundle) -> None:
    """Make the missing mount points, except those on filesystems that CRIU restores."""
    above: list[Mount] = []
    for item in bundle.spec.mounts:
        base, path = _place(bundle, item, above)
        above.append(item)
        if base and path.strip("/"):
            try:
                _make_mount_point(base, path, bundle, item)
            except OSError as error:
                raise ContainerError(
                    f"mount {item.destination}: {describe(error)}", errno=error.errno or 0
                ) from None


def _place(bundle: Bundle, item: Mount, above: list[Mount]) -> tuple[str, str]:
    """Return the host's folder that a destination is in, "" for a filesystem of the container, and the path there."""
    destination = mount_key(item)
    for other in reversed(above):
        key = mount_key(other)
        if destination.startswith(f"{key}/"):
            return (source_path(other, bundle.path) if is_bind(other) else ""), destination[len(key) :]
    return bundle.rootfs, destination


def _make_mount_point(base: str, path: str, bundle: Bundle, item: Mount) -> None:
    base_fd = os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        is_file = is_bind(item) and not os.path.isdir(source_path(item, bundle.path))
        os.close(make_file(base_fd, path) if is_file else make_dirs(base_fd, path))
    finally:
        os.close(base_fd)
