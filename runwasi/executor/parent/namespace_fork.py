"""Forks a container's process into its namespaces: clone3 makes some, and parent or child joins the others.

- Namespaces to make come with clone3 itself; the kernel makes a user namespace among them first, so that it owns
  the others.
- A pid namespace to join, and one of time to make or join, take effect for children only: the parent enters it,
  forks, and returns.
- In a new user namespace, the child would have no right to join namespaces that the host owns: the parent
  enters all of them, forks, and returns.
- A joined user namespace must own the new ones. So an intermediate process joins it, clones the child with
  CLONE_PARENT, which makes it our child, and ends.
"""

from __future__ import annotations

import os
from errno import EACCES, EBUSY, ENOENT, EOPNOTSUPP

from runwasi.executor.errors import ContainerError, asked_by, describe
from runwasi.linux import namespaces
from runwasi.linux.fd import Fd
from runwasi.linux.namespaces import CLONE_NEWTIME, FLAGS
from runwasi.linux.processes import CLONE_CLEAR_SIGHAND, CLONE_PARENT, Child, fork_into, pidfd_open, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.cgroups import Cgroup, Doors
    from runwasi.oci.linux import Linux, TimeOffsets

KINDS = {"mount": "mnt", "network": "net"}
"""The spec's names of namespaces where the kernel's differ."""

_NOT_LET_IN = (EACCES, EBUSY, ENOENT, EOPNOTSUPP)  # of clone3 with CLONE_INTO_CGROUP
_ENTERED_BY_INTERMEDIATE = ("user", "ipc", "uts", "net", "pid", "time")
_JOIN_ORDER = ("user", "ipc", "uts", "net", "pid", "time", "cgroup", "mnt")


class NamespacePlan:
    """The namespaces of a container: flags of those to make, descriptors of those to join in their order.

    Owns the descriptors until close.
    """

    __slots__ = ("flags", "joined", "time_offsets")

    def __init__(self, flags: int, joined: list[tuple[str, int]], time_offsets: TimeOffsets | None) -> None:
        self.flags = flags
        self.joined = joined
        self.time_offsets = time_offsets

    @classmethod
    def of(cls, linux: Linux) -> NamespacePlan:
        """Read the spec and open the namespaces given by path. Raises ContainerError naming the one at fault."""
        plan = cls(0, [], linux.time_offsets)
        try:
            for index, namespace in enumerate(linux.namespaces):
                kind = KINDS.get(namespace.type, namespace.type)
                if not namespace.path:
                    plan.flags |= FLAGS[kind]
                    continue
                try:
                    plan.joined.append((kind, namespaces.open_namespace(namespace.path, kind)))
                except OSError as error:
                    raise ContainerError(
                        f"{describe(error)} ($.linux.namespaces[{index}].path)", errno=error.errno or 0
                    ) from None
        except ContainerError:
            plan.close()
            raise
        plan.joined.sort(key=lambda item: _JOIN_ORDER.index(item[0]))
        return plan

    def makes(self, kind: str) -> bool:
        """Return whether a namespace of this kind is made for the container."""
        return bool(self.flags & FLAGS[kind])

    def joins(self, kind: str) -> bool:
        """Return whether a namespace of this kind is joined by path."""
        return any(kind == joined for joined, _ in self.joined)

    def separate(self) -> bool:
        """Return whether the child can prepare its namespaces by itself, so that its end undoes everything."""
        return self.makes("mnt") and not self.makes("user") and not self.joins("user")

    def close(self) -> None:
        """Close the descriptors."""
        for _, fd in self.joined:
            os.close(fd)
        self.joined.clear()

    def clone_flags(self) -> int:
        """Return what clone3 makes: not the cgroup namespace, which must wait for the cgroup, and not time."""
        return self.flags & ~(FLAGS["cgroup"] | CLONE_NEWTIME)

    def entered_by_parent(self) -> list[tuple[str, int]]:
        """Return the joined namespaces that the parent enters around the fork."""
        if self.through_user_namespace():
            return []
        if self.makes("user"):
            return [(kind, fd) for kind, fd in self.joined if kind != "mnt"]
        return [(kind, fd) for kind, fd in self.joined if kind in ("pid", "time")]

    def through_user_namespace(self) -> bool:
        """Return whether the clone must happen inside a joined user namespace."""
        return self.joins("user") and (self.clone_flags() != 0 or self.joins("pid"))

    def entered_by_child(self) -> list[tuple[str, int]]:
        """Return the joined namespaces that the child itself enters, in order."""
        done = [kind for kind, _ in self.entered_by_parent()]
        if self.through_user_namespace():
            done += _ENTERED_BY_INTERMEDIATE
        return [(kind, fd) for kind, fd in self.joined if kind not in done]


def open_doors(plan: NamespacePlan, cgroup: Cgroup) -> Doors | None:
    """Open the doors of a cgroup for the child of spawn; None if it must be moved there afterwards."""
    # the intermediate process would enter with the rights of the container's root only
    return None if plan.through_user_namespace() else cgroup.doors()


def spawn(plan: NamespacePlan, doors: Doors | None) -> Child | None:
    """Fork into the plan's namespaces; returns the Child in the parent and None in the child.

    The child must still join plan.entered_by_child(), and write to doors.tasks. If the kernel refuses the
    doors, as for a v2 cgroup with children, they are shut, and the child must be moved. The caller must have
    one thread. Raises OSError.
    """
    surroundings = _EnteredNamespaces(plan)
    try:
        child = _fork(plan, doors)
    except OSError:
        surroundings.leave()
        raise
    if child is not None:  # the child stays in the namespaces that the parent entered for the fork
        surroundings.leave()
    return child


def _fork(plan: NamespacePlan, doors: Doors | None) -> Child | None:
    if plan.through_user_namespace():
        return _spawn_inside_user_namespace(plan)
    flags = plan.clone_flags() | CLONE_CLEAR_SIGHAND
    if doors is not None and doors.unified is not None:
        try:
            return fork_into(flags, doors.unified.fileno())
        except OSError as error:
            if error.errno not in _NOT_LET_IN:
                raise
            doors.shut = True
    return fork_into(flags)


class _EnteredNamespaces:
    """The namespaces that the parent enters for the fork."""

    def __init__(self, plan: NamespacePlan) -> None:
        self._entered: list[namespaces.entered] = []
        self._own_time: Fd | None = None
        try:
            for kind, fd in plan.entered_by_parent():
                entry = namespaces.entered(fd, kind)
                entry.__enter__()
                self._entered.append(entry)
            if plan.makes("time") and not plan.makes("user"):
                self._own_time = Fd(os.open("/proc/self/ns/time", os.O_RDONLY | os.O_CLOEXEC))
                namespaces.unshare(CLONE_NEWTIME)
                write_time_offsets(plan.time_offsets)
        except (OSError, ContainerError):
            self.leave()
            raise

    def leave(self) -> None:
        """Return to our own namespaces."""
        if self._own_time is not None:
            with self._own_time as own_time:
                namespaces.setns(own_time.fileno(), CLONE_NEWTIME)
            self._own_time = None
        while self._entered:
            self._entered.pop().__exit__(None, None, None)


def write_time_offsets(offsets: TimeOffsets | None) -> None:
    """Set the clocks of the time namespace our children will be in (man 7 time_namespaces)."""
    if offsets is None:
        return
    for clock, offset in (("monotonic", offsets.monotonic), ("boottime", offsets.boottime)):
        if offset is not None:
            path = "/proc/self/timens_offsets"
            with asked_by(f"$.linux.timeOffsets.{clock}"), open(path, "wb", 0) as file:
                file.write(f"{clock} {offset.secs} {offset.nanosecs}\n".encode())


def _spawn_inside_user_namespace(plan: NamespacePlan) -> Child | None:
    """Clone from an intermediate process that has joined the user namespace."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    stage = fork_into()
    if stage is None:
        _clone_as_sibling(plan, write_end)
        return None
    os.close(write_end)
    try:
        said = os.read(read_end, 4096)
        reap(stage.pidfd)
    finally:
        os.close(read_end)
        os.close(stage.pidfd)
    number, _, text = said.decode().partition(" ")
    if text or not number:
        raise OSError(int(number or 3), os.strerror(int(number or 3)), text or "clone in the user namespace")
    return Child(int(number), pidfd_open(int(number)))


def _clone_as_sibling(plan: NamespacePlan, answer: int) -> None:
    """Join, clone, tell the parent the pid and end, in the intermediate process; only the clone returns."""
    try:
        namespaces.join((kind, fd) for kind, fd in plan.joined if kind in _ENTERED_BY_INTERMEDIATE)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        sibling = fork_into(plan.clone_flags() | CLONE_PARENT | CLONE_CLEAR_SIGHAND)
        if sibling is None:
            return
        said = str(sibling.pid)
    except OSError as error:
        said = f"{error.errno} {error.filename or 'setresuid in the user namespace'}"
    os.write(answer, said.encode())
    os._exit(0)
