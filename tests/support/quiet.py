"""Finds out whether a process is idle: it waits for events alone, and no timer will wake it."""

from __future__ import annotations

import platform
from pathlib import Path

# asm/unistd_64.h; elsewhere asm-generic/unistd.h, where epoll_pwait stands for epoll_wait
_EPOLL_WAIT, _RT_SIGTIMEDWAIT = (232, 128) if platform.machine() == "x86_64" else (22, 137)


def waits_for_events_alone(pid: int) -> bool:
    """Return whether each thread of a process is blocked in a call that has no timeout.

    Source: man 5 proc_pid_syscall.
    """
    return all(_has_no_timeout(thread) for thread in Path(f"/proc/{pid}/task").iterdir())


def context_switches(pid: int) -> int:
    """Return how often a process was put on or off a CPU so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def _has_no_timeout(thread: Path) -> bool:
    number, *arguments = (thread / "syscall").read_text().split()
    if number == str(_EPOLL_WAIT):
        return int(arguments[3], 16) & 0xFFFFFFFF == 0xFFFFFFFF  # -1, as an int
    return number == str(_RT_SIGTIMEDWAIT) and int(arguments[2], 16) == 0
