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


def until_limits_are_applied(pid: int) -> None:
    """Wait until a guest's process has applied its container's limits, after a signal said that they have changed.

    All threads block that signal, and one waits for it (runwasi/engines/signals.py). The kernel unblocks it for
    that thread while the wait lasts (kernel/signal.c: do_sigtimedwait), so not while the thread applies limits.
    """
    until(lambda: any(_has_nothing_to_apply(thread) for thread in Path(f"/proc/{pid}/task").iterdir()), bool)


def _has_nothing_to_apply(thread: Path) -> bool:
    """Return whether the signal is neither pending nor blocked for a thread."""
    found = dict(re.findall(r"^(ShdPnd|SigBlk):\s*(\w+)", (thread / "status").read_text(), re.MULTILINE))
    return not (int(found["ShdPnd"], 16) | int(found["SigBlk"], 16)) & 1 << signal.SIGURG - 1
