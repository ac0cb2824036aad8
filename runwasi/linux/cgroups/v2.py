"""Cgroup version 2: one directory in the unified hierarchy.

Source: Documentation/admin-guide/cgroup-v2.rst.
"""

# ruff: noqa: D102  the methods are described once, in cgroup.py

from __future__ import annotations

import os
from errno import EACCES, EBUSY, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM, EROFS
from select import EPOLLERR, EPOLLPRI, epoll
from time import monotonic

from runwasi.linux.cgroups import tree
from runwasi.linux.cgroups.cgroup import Doors
from runwasi.linux.cgroups.hierarchies import (
    UNIFIED,
    Hierarchy,
    clean,
    layout,
    own_paths,
    parse_own_cgroups,
)
from runwasi.linux.fd import Fd
from runwasi.linux.libc import failure
from runwasi.linux.waiting import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runwasi.linux.cgroups.device_rules import DeviceRule
    from runwasi.linux.cgroups.oom import InotifyOom
    from runwasi.linux.cgroups.units import Property
    from runwasi.linux.waiting import Operation

_FREEZE_SECONDS = 5.0
# These are part of every cgroup, and control no resource of their own.
_CORE = ("cgroup", "devices", "freezer", UNIFIED)


class CgroupV2:
    """A cgroup of the unified hierarchy: its directory, and the mount point above it.

    With rootless, the processes stay where they are if we cannot make the directory.
    """

    version = 2
    unit = ""

    def __init__(self, directory: str, mount_point: str, *, rootless: bool = False) -> None:
        self._directory = directory
        self._mount_point = mount_point
        self._rootless = rootless

    def create(self) -> None:
        try:
            for parent in self._parents():
                tree.make(parent)
                _pass_controllers_down(parent)
            tree.make(self._directory)
            if self._rootless:
                tree.require_joinable(self._directory)
            self._check_type()
        except OSError as error:
            if not (self._rootless and error.errno in (EACCES, EPERM, EROFS)):
                raise
            self._directory = ""

    def has(self, controller: str) -> bool:
        if not self._directory:
            return False
        if controller in _CORE:
            return True
        try:
            return controller in self.read(UNIFIED, "cgroup.controllers").split()
        except OSError as error:
            if error.errno not in (ENOENT, ENODEV):
                raise
            return False

    def enter(self, pid: int, beside: int = 0) -> None:
        if not self._directory:
            return
        try:
            self.write(UNIFIED, "cgroup.procs", str(pid))
        except OSError as error:
            if error.errno == EBUSY and beside:
                tree.write_file(self._of(beside) + "/cgroup.procs", str(pid))
                return
            raise self._explained(error) from None

    def was_entered(self) -> None:
        """Do nothing: the files show everything that enter made."""

    def doors(self) -> Doors | None:
        if not self._directory:
            return None
        return Doors(Fd(os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)))

    def below(self, path: str, controllers: Iterable[str] = ()) -> CgroupV2:
        if set(controllers) - {UNIFIED}:
            raise OSError(EINVAL, "cgroup v2 has one hierarchy for all controllers", path)
        below = f"{self._directory}/{clean(path.strip('/'))}"
        return CgroupV2(below, self._mount_point, rootless=self._rootless)

    def write(self, controller: str, file: str, value: str) -> None:
        tree.write_file(self._file(controller, file), value)

    def read(self, controller: str, file: str) -> str:
        return tree.read_file(self._file(controller, file))

    def set_devices(self, rules: Iterable[DeviceRule]) -> None:
        if not self._directory:
            return
        from runwasi.linux.cgroups.device_rules import filter_program  # late: exec and most updates set none
        from runwasi.linux.cgroups.ebpf import attach_device_filter

        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attach_device_filter(directory, filter_program(list(rules)))
        except OSError as error:
            # A user without CAP_BPF owns no device: the file permissions must suffice.
            if not (self._rootless and error.errno in (EACCES, EPERM)):
                raise
        finally:
            os.close(directory)

    def set_properties(self, properties: Iterable[Property]) -> None:
        """Do nothing: systemd does not know this cgroup."""

    def pids(self) -> list[int]:
        return tree.processes(self._directory) if self._directory else []

    def freeze(self) -> Operation[None]:
        self.write(UNIFIED, "cgroup.freeze", "1")
        deadline = monotonic() + _FREEZE_SECONDS
        events = os.open(self._file(UNIFIED, "cgroup.events"), os.O_RDONLY | os.O_CLOEXEC)
        changed = epoll()  # readable when the file has changed, which EPOLLPRI signals
        try:
            changed.register(events, EPOLLPRI | EPOLLERR)
            while "frozen 1" not in os.pread(events, 4096, 0).decode():
                if not (yield Wait((changed.fileno(),), deadline)):
                    self.thaw()
                    raise OSError(EBUSY, "a process does not stop", self._directory)
        finally:
            changed.close()
            os.close(events)

    def thaw(self) -> None:
        try:
            self.write(UNIFIED, "cgroup.freeze", "0")
        except OSError as error:
            if error.errno not in (ENOENT, ENODEV):
                raise

    def frozen(self) -> bool:
        try:
            return bool(self._directory) and self.read(UNIFIED, "cgroup.freeze") == "1\n"
        except OSError as error:
            if error.errno not in (ENOENT, ENODEV):
                raise
            return False

    def kill(self) -> None:
        if not self._directory:
            return
        try:
            self.write(UNIFIED, "cgroup.kill", "1")
        except OSError as error:
            if error.errno == ENODEV or not os.path.exists(self._directory):
                return
            if error.errno not in (ENOENT, EOPNOTSUPP):
                raise
            # Before Linux 5.14, or in a threaded cgroup: frozen processes do not fork while they are listed.
            self.write(UNIFIED, "cgroup.freeze", "1")
            tree.kill_all(self._directory)
            self.write(UNIFIED, "cgroup.freeze", "0")

    def remove(self) -> Operation[None]:
        if self._directory:
            yield from tree.remove(self._directory)

    def paths(self) -> dict[str, str]:
        return {UNIFIED: self._directory} if self._directory else {}

    def watch_oom(self, handed_over: tuple[Fd, int] | None = None) -> InotifyOom:
        from runwasi.linux.cgroups.oom import InotifyOom  # late: only servers watch

        if not self.has("memory"):
            raise OSError(ENOENT, "cgroup controller memory is not available", self._directory)
        return InotifyOom(self._directory, handed_over)

    def _parents(self) -> list[str]:
        """Return the directories from the mount point down to this cgroup's parent."""
        parents = [self._mount_point]
        for part in self._directory[len(self._mount_point) + 1 :].split("/")[:-1]:
            parents.append(f"{parents[-1]}/{part}")
        return parents

    def _check_type(self) -> None:
        """Refuse a cgroup that cannot hold processes because an ancestor is threaded."""
        if self.read(UNIFIED, "cgroup.type") == "domain invalid\n":
            why = "cgroup is in an invalid state: a cgroup above it is threaded"
            raise OSError(EOPNOTSUPP, why, self._directory)

    def _of(self, pid: int) -> str:
        """Return the directory of the cgroup that one of our processes is in now."""
        path = parse_own_cgroups(tree.read_file(f"/proc/{pid}/cgroup")).get(UNIFIED)
        if path is not None:
            directory = _unified().directory(_unified().visible(path))
            if (directory + "/").startswith(self._directory + "/"):
                return directory
        raise OSError(ENOENT, f"process {pid} is not in the cgroup", self._directory)

    def _file(self, controller: str, file: str) -> str:
        if not self._directory:
            raise OSError(ENOENT, f"cgroup controller {controller} is not available without privileges", file)
        return f"{self._directory}/{file}"

    def _explained(self, error: OSError) -> OSError:
        """Explain why the kernel refuses a process: its error number alone would mislead."""
        if error.errno == EBUSY:
            why = "cgroup cannot hold processes: controllers are enabled for its children"
        elif error.errno == EOPNOTSUPP:
            why = "cgroup cannot hold processes: it is threaded, or a cgroup beside it is"
        else:
            return error
        return OSError(error.errno, why, self._directory)


def at(path: str, *, rootless: bool = False) -> CgroupV2:
    """Return the cgroup of a path: absolute from the mount point, otherwise beside this process's own.

    Beside, because a cgroup with processes, such as our own, cannot pass controllers down ("no internal
    processes"). Raises OSError for a path that leaves its parent.
    """
    cleaned = clean(path)
    hierarchy = _unified()
    if not cleaned.startswith("/"):
        parent = os.path.dirname(hierarchy.visible(own_paths()[UNIFIED])).rstrip("/")
        cleaned = f"{parent}/{cleaned}"
    return CgroupV2(hierarchy.directory(cleaned), hierarchy.mount_point, rootless=rootless)


def _unified() -> Hierarchy:
    for hierarchy in layout().hierarchies:
        if UNIFIED in hierarchy.controllers:
            return hierarchy
    raise OSError(ENOENT, "the cgroup v2 hierarchy is not mounted", "/sys/fs/cgroup")


def _pass_controllers_down(directory: str) -> None:
    """Enable all of a cgroup's controllers for its children; if one is refused, each by itself.

    A refused controller matters only for a limit that needs it, which then reports it.
    """
    control = directory + "/cgroup.subtree_control"
    available = tree.read_file(directory + "/cgroup.controllers").split()
    missing = set(available) - set(tree.read_file(control).split())
    if not missing:
        return
    try:
        tree.write_file(control, " ".join(f"+{name}" for name in sorted(missing)))
    except OSError:
        for name in sorted(missing):
            _try_enabling(control, name)


def _try_enabling(control: str, name: str) -> None:
    try:
        tree.write_file(control, f"+{name}")
    except OSError as error:
        if error.errno not in (EACCES, EBUSY, EINVAL, ENOENT, EOPNOTSUPP, EPERM, EROFS):
            raise failure(error.errno or 0, f"enable {name} in", control) from None
