"""Makes cgroups through systemd: a transient scope for each, requested over D-Bus.

systemd owns the tree on the hosts that it runs on, and may undo changes that it does not know. So we tell it the
scope and its limits, then use the files as those of a plain cgroup: they can express more than systemd's
properties. Source: org.freedesktop.systemd1(5); CGROUP_DELEGATION.md of systemd.
"""

# ruff: noqa: D102  the methods are described once, in cgroup.py

from __future__ import annotations

import os
from errno import EACCES, EINVAL, EOPNOTSUPP, EPERM

from runwasi.linux.cgroups.cgroup import Doors
from runwasi.linux.cgroups.hierarchies import UNIFIED, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runwasi.linux.cgroups.cgroup import Cgroup, OomWatch
    from runwasi.linux.cgroups.device_rules import DeviceRule
    from runwasi.linux.cgroups.units import Property, UnitManager
    from runwasi.linux.fd import Fd
    from runwasi.linux.waiting import Operation

_PREFIX = "runwasi"


class SystemdCgroup:
    """The cgroup of a transient scope. It exists once the first process enters: systemd makes no empty scope."""

    def __init__(
        self,
        unit: str,
        slice_unit: str,
        files: Cgroup,
        properties: Iterable[Property] = (),
        *,
        rootless: bool = False,
        started: bool = False,
    ) -> None:
        self.unit = unit
        self._slice = slice_unit
        self._files = files
        self._properties = list(properties)
        self._rootless = rootless
        self._started = started

    @property
    def version(self) -> int:
        return self._files.version

    def create(self) -> None:
        """Do nothing yet: the first process that enters starts the scope."""

    def has(self, controller: str) -> bool:
        return self._files.has(controller)

    def enter(self, pid: int, beside: int = 0) -> None:
        pid = pid or os.getpid()
        if not self._started:
            self._start(pid)
            self._files.create()
            self._started = True
        try:
            self._files.enter(pid, beside)
        except OSError as error:
            if error.errno not in (EACCES, EPERM):
                raise
            with self._manager() as manager:  # a user must not move processes between scopes; systemd may
                manager.attach(self.unit, pid)

    def was_entered(self) -> None:
        self._files.create()  # finds all of it, and leaves out what a user cannot use
        self._started = True

    def doors(self) -> Doors | None:
        return self._files.doors() if self._started else None

    def below(self, path: str, controllers: Iterable[str] = ()) -> Cgroup:
        return self._files.below(path, controllers)

    def write(self, controller: str, file: str, value: str) -> None:
        self._files.write(controller, file, value)

    def read(self, controller: str, file: str) -> str:
        return self._files.read(controller, file)

    def set_devices(self, rules: Iterable[DeviceRule]) -> None:
        self._files.set_devices(rules)

    def set_properties(self, properties: Iterable[Property]) -> None:
        """Pass limits on to systemd, which would otherwise reset them when it rewrites the tree."""
        wanted = list(properties)
        if wanted:
            with self._manager() as manager:
                manager.set_properties(self.unit, wanted)

    def pids(self) -> list[int]:
        return self._files.pids()

    def freeze(self) -> Operation[None]:
        return self._files.freeze()

    def thaw(self) -> None:
        self._files.thaw()

    def frozen(self) -> bool:
        return self._files.frozen()

    def kill(self) -> None:
        self._files.kill()

    def remove(self) -> Operation[None]:
        if self._started:
            with self._manager() as manager:
                manager.stop(self.unit)
        yield from self._files.remove()

    def paths(self) -> dict[str, str]:
        return self._files.paths()

    def watch_oom(self, handed_over: tuple[Fd, int] | None = None) -> OomWatch:
        return self._files.watch_oom(handed_over)

    def _start(self, pid: int) -> None:
        properties: list[Property] = [
            ("Description", ("s", f"container {self.unit.removesuffix('.scope')}")),
            ("Slice", ("s", self._slice)),
            ("Delegate", ("b", True)),
            ("PIDs", ("au", [pid])),
            ("DefaultDependencies", ("b", False)),
            ("MemoryAccounting", ("b", True)),
            ("CPUAccounting", ("b", True)),
            ("IOAccounting" if self.version == 2 else "BlockIOAccounting", ("b", True)),
            ("TasksAccounting", ("b", True)),
        ]
        with self._manager() as manager:
            manager.start(self.unit, properties + self._properties)

    def _manager(self) -> UnitManager:
        from runwasi.linux.cgroups.units import UnitManager  # late: D-Bus, 30 ms

        return UnitManager(user=self._rootless)


def scope_at(path: str, *, rootless: bool = False, properties: Iterable[Property] = ()) -> SystemdCgroup:
    """Return the scope of "slice:prefix:name"; an empty slice is the system's, or the user's with rootless.

    Raises OSError: EINVAL for names that systemd would refuse, EOPNOTSUPP if it does not run.
    """
    if not os.path.isdir("/run/systemd/system"):
        raise OSError(EOPNOTSUPP, "systemd does not run on this host", "systemd cgroup driver")
    parts = path.split(":")
    if len(parts) != 3:
        raise OSError(EINVAL, "the systemd driver takes a path of the form slice:prefix:name", path)
    slice_unit, prefix, name = parts
    if not name or "/" in name + prefix or name.endswith(".slice"):
        raise OSError(EINVAL, "not the name of a scope", path)
    slice_unit = slice_unit or ("user.slice" if rootless else "system.slice")
    unit = f"{prefix or _PREFIX}-{name}.scope"
    within = slice_path(slice_unit).rstrip("/")
    if rootless:
        from runwasi.linux.cgroups.units import UnitManager  # late: D-Bus, 30 ms

        with UnitManager(user=True) as manager:
            within = manager.control_group() + within
    files = _files(f"{within}/{unit}", rootless=rootless)
    return SystemdCgroup(unit, slice_unit, files, properties, rootless=rootless)


def scope_from(paths: dict[str, str], *, rootless: bool = False) -> SystemdCgroup:
    """Return the scope with these paths()."""
    unit = os.path.basename(next(iter(paths.values()), ""))
    return SystemdCgroup(unit, "", _files_from(paths, rootless=rootless), rootless=rootless, started=True)


def slice_path(slice_unit: str) -> str:
    """Return the path of a slice: "a-b.slice" is "/a.slice/a-b.slice" (man 5 systemd.slice).

    Raises OSError (EINVAL) for names that systemd would refuse.
    """
    name = slice_unit.removesuffix(".slice")
    if name == slice_unit or "/" in name:
        raise OSError(EINVAL, "not the name of a slice", slice_unit)
    if name == "-":
        return "/"
    parts = name.split("-")
    if "" in parts:
        raise OSError(EINVAL, "not the name of a slice", slice_unit)
    return "".join(f"/{'-'.join(parts[:count])}.slice" for count in range(1, len(parts) + 1))


def _files(path: str, *, rootless: bool) -> Cgroup:
    if layout().version == 1:
        from runwasi.linux.cgroups import v1  # late: a host has one version

        return v1.at(path, rootless=rootless)
    from runwasi.linux.cgroups import v2  # late: a host has one version

    return v2.at(path, rootless=rootless)


def _files_from(paths: dict[str, str], *, rootless: bool) -> Cgroup:
    if layout().version == 1:
        from runwasi.linux.cgroups.v1 import CgroupV1  # late: a host has one version

        return CgroupV1(dict(paths), rootless=rootless)
    from runwasi.linux.cgroups.v2 import CgroupV2  # late: a host has one version

    return CgroupV2(paths.get(UNIFIED, ""), layout().hierarchies[0].mount_point, rootless=rootless)
