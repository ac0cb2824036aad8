"""The memory limit of a process, whichever cgroup version sets it."""

from __future__ import annotations

from pathlib import Path


def memory_limit(pid: int) -> int:
    """The memory limit of a process's cgroup in bytes."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    groups = {controllers: path for _, controllers, path in (line.split(":") for line in lines)}
    if "memory" in groups:
        return int(Path(f"/sys/fs/cgroup/memory{groups['memory']}/memory.limit_in_bytes").read_text())
    return int(Path(f"/sys/fs/cgroup{groups['']}/memory.max").read_text())
