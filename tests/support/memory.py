"""The memory limit of a process, whichever cgroup version sets it, and when its guest knows it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from devtools.waiting import until


def memory_limit(pid: int) -> int:
    """The memory limit of a process's cgroup in bytes."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    groups = {controllers: path for _, controllers, path in (line.split(":") for line in lines)}
    if "memory" in groups:
        return int(Path(f"/sys/fs/cgroup/memory{groups['memory']}/memory.limit_in_bytes").read_text())
    return int(Path(f"/sys/fs/cgroup{groups['']}/memory.max").read_text())


def until_told_of_limits(pid: int) -> None:
    """Wait until a guest's process has taken the signal that says that its container's limits have changed."""
    until(lambda: _waiting_signals(pid), lambda signals: not signals & 1 << signal.SIGURG - 1)


def _waiting_signals(pid: int) -> int:
    """The kernel's set of signals that wait for any thread of a process."""
    found = re.search(r"^ShdPnd:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1], 16)
