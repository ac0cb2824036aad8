"""Checks the cgroup hierarchies: which version is in charge, its controllers, and whether we may use them."""

from __future__ import annotations

import os

from runwasi.cli.doctor.finding import MISSING, OK, WARN, Finding
from runwasi.linux.cgroups.hierarchies import UNIFIED, layout, own_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runwasi.linux.cgroups.hierarchies import Hierarchy

_WANTED = ("cpu", "memory", "pids", "io", "cpuset")


def cgroups() -> Iterator[Finding]:
    """Check them. Source: man 7 cgroups."""
    try:
        found = layout()
    except OSError as error:
        mend = "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        yield Finding("cgroups", MISSING, f"{error.strerror}: containers have no limits", mend, needed=True)
        return
    names = {name for hierarchy in found.hierarchies for name in hierarchy.controllers}
    if found.version == 2:
        yield from _version_2(found.hierarchies[0])
        return
    kind = "hybrid: version 1 with an empty version 2 beside it" if UNIFIED in names else "version 1"
    yield Finding("cgroups", OK, f"{kind}; {', '.join(sorted(filter(None, names)))}")
    wanted = {"io": "blkio"}
    lacking = [wanted.get(name, name) for name in _WANTED if wanted.get(name, name) not in names]
    if lacking:
        folder = f"/sys/fs/cgroup/{lacking[0]}"
        mend = f"mkdir {folder} && mount -t cgroup -o {lacking[0]} cgroup {folder}"
        yield Finding("cgroups", WARN, f"not mounted: {', '.join(lacking)}; their limits are refused", mend)
    if os.geteuid() != 0:
        yield Finding(
            "cgroups",
            WARN,
            "version 1 cannot be delegated: rootless containers have no limits",
            _TO_VERSION_2,
        )


_TO_VERSION_2 = "boot with systemd.unified_cgroup_hierarchy=1"


def _version_2(hierarchy: Hierarchy) -> Iterator[Finding]:
    folder = hierarchy.mount_point
    if os.geteuid() != 0:
        folder += own_paths().get(UNIFIED, "/").rstrip("/")
    controllers = _read(f"{folder}/cgroup.controllers")
    yield Finding("cgroups", OK, f"version 2; {', '.join(controllers.split())}")
    lacking = [name for name in _WANTED if name not in controllers.split()]
    if lacking and os.geteuid() != 0:
        mend = "systemctl edit user@.service, with [Service] Delegate=yes, as root; then log in again"
        yield Finding("cgroups", WARN, f"not delegated to you: {', '.join(lacking)}", mend)
    elif lacking:
        yield Finding(
            "cgroups",
            WARN,
            f"the kernel lacks {', '.join(lacking)}; their limits are refused",
            "boot with them",
        )


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""
