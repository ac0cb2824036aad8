"""Reads a container's usage from its cgroup."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.executor.usage.usage_records import Usage
    from runwasi.linux.cgroups import Cgroup


def read_usage(cgroup: Cgroup) -> Usage:
    """Read everything that this kernel counts for a cgroup. A cgroup that is gone has used nothing."""
    if cgroup.version == 1:
        from runwasi.executor.usage.usage_v1 import read  # late: a host has one version
    else:
        from runwasi.executor.usage.usage_v2 import read
    return read(cgroup)
