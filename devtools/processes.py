"""Reads of a process what /proc/PID/stat says. Source: man 5 proc_pid_stat."""

from __future__ import annotations

from pathlib import Path


def stat_of(pid: int | str) -> list[str]:
    """The fields after the name: the state, the parent's pid and so on. Raises FileNotFoundError."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def parent_of(pid: int | str) -> int:
    """The parent's pid. Raises FileNotFoundError."""
    return int(stat_of(pid)[1])


def is_zombie(pid: int | str) -> bool:
    """Return whether it has ended and nobody has reaped it. Raises FileNotFoundError."""
    return stat_of(pid)[0] == "Z"
