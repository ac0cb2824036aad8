"""Moves this process into another process's cgroups, in every hierarchy."""

from __future__ import annotations

from runwasi.linux.cgroups.hierarchies import UNIFIED, layout, own_paths, parse_own_cgroups
from runwasi.linux.cgroups.tree import write_file


def join(cgroups: str) -> None:
    """Move this process, which has one thread, to the cgroups in the text of another's /proc/PID/cgroup.

    Hierarchies that are not mounted are skipped. Raises OSError.
    """
    own, wanted = own_paths(), parse_own_cgroups(cgroups)
    for hierarchy in layout().hierarchies:
        name = hierarchy.controllers[0]
        path = wanted.get(name)
        if path is None or path == own.get(name):
            continue
        # not cgroup.procs on version 1: to move a process, the kernel would stop everybody's forks
        file = "cgroup.procs" if name == UNIFIED else "tasks"
        write_file(f"{hierarchy.directory(hierarchy.visible(path))}/{file}", "0")
