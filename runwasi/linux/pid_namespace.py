"""Lists the processes of a pid namespace, for when no cgroup lists them."""

from __future__ import annotations

import os


def processes_beside(pid: int) -> list[int]:
    """Return the processes in the pid namespace of process pid, that one first; none if it is gone.

    Leaves out processes in namespaces below it, and those that we must not look at. Source: man 7 pid_namespaces.
    """
    try:
        namespace = _namespace_of(pid)
    except FileNotFoundError:
        return []
    except PermissionError:  # a process that is not dumpable
        return [pid]
    others = [number for number in _all_processes() if number != pid and _is_in(number, namespace)]
    return [pid, *others]


def _all_processes() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def _is_in(pid: int, namespace: tuple[int, int]) -> bool:
    try:
        return _namespace_of(pid) == namespace
    except OSError:
        return False


def _namespace_of(pid: int) -> tuple[int, int]:
    found = os.stat(f"/proc/{pid}/ns/pid")
    return found.st_dev, found.st_ino
