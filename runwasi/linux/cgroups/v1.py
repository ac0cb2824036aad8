"""Cgroup version 1, hybrid hosts included: one directory in each mounted hierarchy.

Source: Documentation/admin-guide/cgroup-v1/ (cgroups, cpusets, freezer-subsystem).
"""

# ruff: noqa: D102  the methods are described once, in cgroup.py

from __future__ import annotations

import os
from errno import EACCES, EBUSY, EINVAL, ENODEV, ENOENT, EPERM, EROFS
from itertools import groupby
from time import monotonic

from runwasi.linux.cgroups import tree
from runwasi.linux.cgroups.cgroup import Doors
from runwasi.linux.cgroups.hierarchies import UNIFIED, clean, layout, own_paths
from runwasi.linux.fd import Fd
from runwasi.linux.waiting import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runwasi.linux.cgroups.device_rules import DeviceRule
    from runwasi.linux.cgroups.oom import EventfdOom
    from runwasi.linux.cgroups.units import Property
    from runwasi.linux.waiting import Operation

_FREEZE_SECONDS = 5.0
_LONGEST_PAUSE = 0.05  # seconds


class CgroupV1:
    """A cgroup in the v1 hierarchies: its directories by controller.

    With rootless, directories that we cannot make or join are left out, and so are limits that need them.
    """

    version = 1
    unit = ""

    def __init__(self, directories: dict[str, str], *, rootless: bool = False) -> None:
        self._directories = directories
        self._rootless = rootless

    def create(self) -> None:
        for directory in self._distinct():
            try:
                made = tree.make(directory)
                if self._rootless:
                    tree.require_joinable(directory)
            except OSError as error:
                if not self._leave_out(error, directory):
                    raise
                continue
            if made and directory == self._directories.get("cpuset"):
                _inherit_cpuset(directory)

    def has(self, controller: str) -> bool:
        return controller in self._directories

    def enter(self, pid: int, beside: int = 0) -> None:  # noqa: ARG002  v2 only
        text = str(pid)
        for directory in self._distinct():
            try:
                tree.write_file(directory + "/cgroup.procs", text)
            except OSError as error:
                if not self._leave_out(error, directory):
                    raise

    def was_entered(self) -> None:
        """Do nothing: the files show everything that enter made."""

    def doors(self) -> Doors | None:
        doors = Doors()
        try:
            for directory in self._distinct():
                if directory == self._directories.get(UNIFIED):
                    doors.unified = Fd(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                    continue
                try:
                    # not cgroup.procs: to move a process, the kernel would stop everybody's forks
                    tasks = Fd(os.open(directory + "/tasks", os.O_WRONLY | os.O_CLOEXEC))
                except OSError as error:
                    if not self._leave_out(error, directory):
                        raise
                    continue
                doors.tasks = (*doors.tasks, tasks)
        except OSError:
            doors.close()
            raise
        return doors

    def below(self, path: str, controllers: Iterable[str] = ()) -> CgroupV1:
        below = clean(path.strip("/"))
        chosen = set(controllers) or set(self._directories)
        if missing := chosen - set(self._directories):
            raise OSError(ENOENT, "this host has no such cgroup controller", ",".join(sorted(missing)))
        return CgroupV1(
            {
                name: f"{directory}/{below}" if name in chosen else directory
                for name, directory in self._directories.items()
            },
            rootless=self._rootless,
        )

    def write(self, controller: str, file: str, value: str) -> None:
        tree.write_file(self._file(controller, file), value)

    def read(self, controller: str, file: str) -> str:
        return tree.read_file(self._file(controller, file))

    def set_devices(self, rules: Iterable[DeviceRule]) -> None:
        if self._rootless and not self.has("devices"):
            return
        from runwasi.linux.cgroups.device_rules import transition  # late: exec and most updates set none

        wanted = list(rules)
        try:
            changes = transition(self.read("devices", "devices.list"), wanted)
            for file, entries in groupby(changes, key=lambda change: change[0]):
                tree.write_file(self._file("devices", file), *(entry for _, entry in entries))
        except OSError as error:
            # The kernel lets only the host's administrator change them, even in a delegated cgroup. Without rules, a
            # user still has only the devices that the files' owners and modes allow.
            if not self._rootless or error.errno not in (EACCES, EPERM):
                raise

    def set_properties(self, properties: Iterable[Property]) -> None:
        """Do nothing: systemd does not know this cgroup."""

    def pids(self) -> list[int]:
        directory = self._leading()
        return tree.processes(directory) if directory else []

    def freeze(self) -> Operation[None]:
        deadline = monotonic() + _FREEZE_SECONDS
        pause = 0.0
        self.write("freezer", "freezer.state", "FROZEN")
        # The kernel has no event for the end of FREEZING; a read updates the state, and another write makes it look
        # for tasks that were forked meanwhile. The pauses leave the CPU to tasks that have to stop.
        while self.read("freezer", "freezer.state") != "FROZEN\n":
            if monotonic() > deadline:
                self.thaw()
                raise OSError(EBUSY, "a process does not stop", self._file("freezer", ""))
            yield Wait((), monotonic() + pause)
            pause = min(pause + 0.001, _LONGEST_PAUSE)
            self.write("freezer", "freezer.state", "FROZEN")

    def thaw(self) -> None:
        if self.has("freezer"):
            _thaw(self._directories["freezer"])

    def frozen(self) -> bool:
        if not self.has("freezer"):
            return False
        try:
            return self.read("freezer", "freezer.state") != "THAWED\n"
        except FileNotFoundError:
            return False

    def kill(self) -> None:
        directory = self._leading()
        if not directory or not tree.processes(directory):
            return  # most containers end by themselves, and no process is left to fork
        if not self.has("freezer"):
            tree.kill_all(directory)
            return
        try:
            # Frozen processes, even if some are still freezing, do not fork while they are listed; SIGKILL takes
            # effect at the thaw.
            self.write("freezer", "freezer.state", "FROZEN")
            tree.kill_all(directory)
            for path in tree.descendants(directory):  # its own programs may have frozen some
                _thaw(path)
        except FileNotFoundError:
            return  # removed already

    def remove(self) -> Operation[None]:
        for directory in self._distinct():
            try:
                yield from tree.remove(directory)
            except OSError as error:
                if not self._leave_out(error, directory):
                    raise

    def paths(self) -> dict[str, str]:
        return dict(self._directories)

    def watch_oom(self, handed_over: tuple[Fd, int] | None = None) -> EventfdOom:
        from runwasi.linux.cgroups.oom import EventfdOom  # late: only servers watch

        return EventfdOom(os.path.dirname(self._file("memory", "memory.oom_control")), handed_over)

    def _distinct(self) -> list[str]:
        """Return each directory once: controllers that are mounted together share one."""
        return list(dict.fromkeys(self._directories.values()))

    def _leading(self) -> str | None:
        """Return the directory whose members count as the container's: a hierarchy that it cannot leave."""
        for name in ("freezer", "devices", "name=systemd", *self._directories):
            if name in self._directories:
                return self._directories[name]
        return None

    def _file(self, controller: str, file: str) -> str:
        try:
            return f"{self._directories[controller]}/{file}"
        except KeyError:
            raise OSError(ENOENT, f"cgroup controller {controller} is not available", file) from None

    def _leave_out(self, error: OSError, directory: str) -> bool:
        """Drop a directory that an unprivileged user cannot use; return False for any other error."""
        if not self._rootless or error.errno not in (EACCES, EPERM, EROFS):
            return False
        self._directories = {name: path for name, path in self._directories.items() if path != directory}
        return True


def at(path: str, *, rootless: bool = False) -> CgroupV1:
    """Return the cgroup of a path: absolute from each hierarchy's root, otherwise below this process's own.

    Raises OSError for a path that leaves its parent.
    """
    cleaned = clean(path)
    own = {} if cleaned.startswith("/") else own_paths()
    directories = {}
    for hierarchy in layout().hierarchies:
        name = hierarchy.controllers[0]
        if cleaned.startswith("/"):
            directory = hierarchy.directory(cleaned)
        elif name in own:
            parent = hierarchy.visible(own[name]).rstrip("/")
            directory = hierarchy.directory(f"{parent}/{cleaned}")
        else:
            continue
        directories.update(dict.fromkeys(hierarchy.controllers, directory))
    if not directories:
        raise OSError(EINVAL, "this process is in none of the mounted hierarchies", path)
    return CgroupV1(directories, rootless=rootless)


def _thaw(directory: str) -> None:
    try:
        tree.write_file(directory + "/freezer.state", "THAWED")
    except OSError as error:
        if error.errno not in (ENOENT, ENODEV):
            raise


def _inherit_cpuset(directory: str) -> None:
    """Give a new cpuset the parent's cpuset.cpus and cpuset.mems: without them it takes no process (ENOSPC)."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        value = _inherited(os.path.dirname(directory), name)
        tree.write_file(f"{directory}/{name}", value)


def _inherited(directory: str, name: str) -> str:
    file = f"{directory}/{name}"
    value = tree.read_file(file).strip()
    if not value:
        value = _inherited(os.path.dirname(directory), name)
        tree.write_file(file, value)
    return value
