"""Control groups: version 1, version 2 and systemd's scopes, behind one protocol.

`cgroup_at` returns the cgroup of a requested path, `cgroup_from` the one with recorded directories.
"""

from __future__ import annotations

import os
from errno import ENOENT, ENOSPC

from runwasi.linux.cgroups.hierarchies import UNIFIED, clean, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runwasi.linux.cgroups.cgroup import Cgroup as Cgroup
    from runwasi.linux.cgroups.cgroup import Doors as Doors
    from runwasi.linux.cgroups.cgroup import OomWatch as OomWatch
    from runwasi.linux.cgroups.units import Property

__all__ = ["cgroup_at", "cgroup_from", "join_existing", "version"]


def version() -> int:
    """Return 2 if the unified hierarchy has the controllers, otherwise 1, also on hybrid hosts."""
    return layout().version


def cgroup_at(
    path: str, *, systemd: bool = False, rootless: bool = False, properties: Iterable[Property] = ()
) -> Cgroup:
    """Return the cgroup of a requested path; nothing is created yet.

    Absolute paths start at the root of each hierarchy, relative ones at this process's own cgroup (v1) or
    beside it (v2). With systemd the path is "slice:prefix:name" and names a transient scope, which gets these
    additional properties. With rootless, everything that an unprivileged user cannot have is left out. Raises
    OSError (EINVAL) for "..", or an empty name.
    """
    if systemd:
        from runwasi.linux.cgroups.systemd import scope_at  # late: D-Bus, only with this driver

        return scope_at(path, rootless=rootless, properties=properties)
    if layout().version == 1:
        from runwasi.linux.cgroups import v1  # late: a host has one version

        return v1.at(path, rootless=rootless)
    from runwasi.linux.cgroups import v2  # late: a host has one version

    return v2.at(path, rootless=rootless)


def join_existing(path: str) -> None:
    """Move this process into an existing cgroup, in every hierarchy that has it; nothing is created.

    The path starts at the root of each hierarchy. On a hybrid host, an administrator who uses one version makes
    the cgroup only in its hierarchies. Raises FileNotFoundError if none has it, or OSError, which names the one
    that refuses us.
    """
    name = clean(f"/{path}")
    joined = [hierarchy for hierarchy in layout().hierarchies if _join(hierarchy.directory(name))]
    if not joined:
        raise FileNotFoundError(ENOENT, "no cgroup hierarchy has this cgroup", path)


def _join(directory: str) -> bool:
    """Enter the cgroup of a directory; return False if it does not exist."""
    from runwasi.linux.cgroups import tree  # late, like the versions of cgroups

    try:
        tree.write_file(f"{directory}/cgroup.procs", "0")
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == ENOSPC:  # cgroup-v1/cpusets.rst: both are empty at first
            raise OSError(ENOSPC, "its cpuset.cpus or cpuset.mems is empty", directory) from None
        raise
    return True


def cgroup_from(paths: dict[str, str], *, systemd: bool = False, rootless: bool = False) -> Cgroup:
    """Return the cgroup with these `paths()`. With systemd its scope is the last part of the path.

    Raises ValueError for a directory that is not a cgroup below a hierarchy's root: a kill would reach its processes.
    """
    mount_points = tuple(f"{hierarchy.mount_point}/" for hierarchy in layout().hierarchies)
    for path in paths.values():
        if not path.startswith(mount_points) or f"{path}/" in mount_points or os.path.normpath(path) != path:
            raise ValueError(f"{path} is not a cgroup below the root")
    if systemd:
        from runwasi.linux.cgroups.systemd import scope_from  # late: D-Bus, only with this driver

        return scope_from(paths, rootless=rootless)
    if layout().version == 1:
        from runwasi.linux.cgroups.v1 import CgroupV1  # late: a host has one version

        return CgroupV1(dict(paths), rootless=rootless)
    from runwasi.linux.cgroups.v2 import CgroupV2  # late: a host has one version

    mount_point = layout().hierarchies[0].mount_point
    return CgroupV2(paths.get(UNIFIED, ""), mount_point, rootless=rootless)
