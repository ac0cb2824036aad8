"""Control groups: version 1, version 2 and systemd's, behind one protocol.

`cgroup_at` gives the cgroup of a requested path, `cgroup_from` the one whose directories were noted down.
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
    """Return 2 where the unified hierarchy has the controllers, 1 elsewhere, hybrid hosts included."""
    return layout().version


def cgroup_at(
    path: str, *, systemd: bool = False, rootless: bool = False, properties: Iterable[Property] = ()
) -> Cgroup:
    """Return the cgroup of a requested path; nothing is created yet.

    Absolute paths start at the root of each hierarchy, others at this process's own cgroup (v1) or beside it
    (v2). With systemd the path is "slice:prefix:name" and names a transient scope, which gets these
    properties beside its own. With rootless, what an unprivileged user may not have is left out. Raises
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
    """Move this process into a cgroup that somebody made, in every hierarchy that has it; nothing is created.

    The path counts from the root of each hierarchy. An administrator who uses one version on a hybrid host makes
    the cgroup in those hierarchies alone. Raises FileNotFoundError when none has it, or OSError naming the one that
    refuses us.
    """
    name = clean(f"/{path}")
    joined = [hierarchy for hierarchy in layout().hierarchies if _join(hierarchy.directory(name))]
    if not joined:
        raise FileNotFoundError(ENOENT, "no cgroup hierarchy has such a group", path)


def _join(directory: str) -> bool:
    """Enter the cgroup of a directory; False when there is none."""
    from runwasi.linux.cgroups import tree  # late, as the versions of cgroups are

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
    """Return the cgroup whose `paths()` were these. With systemd its scope is the last part of the path.

    Raises ValueError for a directory that is no cgroup below the root of a hierarchy: all in it could be killed.
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
