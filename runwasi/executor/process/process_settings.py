"""Sets up a new process from outside: its rlimits, priorities, OOM score and seccomp filter."""

from __future__ import annotations

import os
from errno import EEXIST, EPERM
from stat import S_ISREG

from runwasi.executor.errors import ContainerError, asked_by
from runwasi.linux import rlimits, scheduling
from runwasi.linux.fd import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.seccomp_filter import Filter
    from runwasi.linux.waiting import Operation
    from runwasi.oci.process import Process, Rlimit, Scheduler
    from runwasi.oci.seccomp import Seccomp


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid in decimal; a reader finds the whole number or no file.

    Raises OSError, also if something is there that is no regular file: a device or a link is not to be replaced.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}")
    try:
        if os.path.lexists(path) and not S_ISREG(os.lstat(path).st_mode):
            raise OSError(EEXIST, "what is there is not a regular file")
        with open(temporary, "wb", 0) as file:
            write_all(file.fileno(), str(pid).encode(), path)
        os.rename(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def set_rlimits(pid: int, wanted: tuple[Rlimit, ...]) -> None:
    """Set the resource limits of process pid. Raises ContainerError naming the one that was refused.

    Without CAP_SYS_RESOURCE, a process of another user must lower its own limits: the step lower_rlimits.
    """
    for index, limit in enumerate(wanted):
        try:
            rlimits.set_rlimit(limit.type, limit.soft, limit.hard, pid)
        except OSError as error:
            if error.errno == EPERM and limit.hard <= rlimits.get_rlimit(limit.type)[1]:
                continue
            raise ContainerError(
                f"{limit.type} {limit.soft}:{limit.hard}: {error.strerror} ($.process.rlimits[{index}])",
                errno=error.errno or 0,
            ) from None


def set_oom_score_adj(pid: int, score: int | None) -> None:
    """Set the OOM score adjustment of process pid. Raises ContainerError naming the member."""
    if score is None:
        return
    try:
        with open(f"/proc/{pid}/oom_score_adj", "wb", 0) as file:
            file.write(str(score).encode())
    except OSError as error:
        raise ContainerError(
            f"oom_score_adj {score}: {error.strerror} ($.process.oomScoreAdj)", errno=error.errno or 0
        ) from None


def set_priorities(process: Process, pid: int = 0) -> None:
    """Set the I/O priority and the scheduler of process pid, or our own. Raises ContainerError naming the member."""
    if process.io_priority:
        with asked_by("$.process.ioPriority"):
            scheduling.set_io_priority(process.io_priority.class_, process.io_priority.priority, pid)
    if process.scheduler:
        with asked_by("$.process.scheduler"):
            _set_scheduler(process.scheduler, pid)


def _set_scheduler(scheduler: Scheduler, pid: int) -> None:
    try:
        scheduling.set_scheduler(
            scheduler.policy,
            nice=scheduler.nice,
            priority=scheduler.priority,
            flags=scheduler.flags,
            runtime=scheduler.runtime,
            deadline=scheduler.deadline,
            period=scheduler.period,
            pid=pid,
        )
    except OSError as error:
        if error.errno != EPERM or scheduler.policy not in ("SCHED_FIFO", "SCHED_RR"):
            raise
        # man 7 sched: with real-time group scheduling a new cgroup has no time for such processes
        why = f"{error.strerror}: the cgroup may need $.linux.resources.cpu.realtimeRuntime"
        raise OSError(EPERM, why, error.filename) from None


def compiled_filter(profile: Seccomp | None, cache_root: str) -> Operation[Filter | None]:
    """Return the compiled filter of a profile, None without one. Raises as seccomp_profile.compiled does."""
    if profile is None:
        return None
    from runwasi.executor.process import seccomp_profile  # late: 0.5 ms, and bundles made by hand have none

    return (yield from seccomp_profile.compiled(profile, cache_root))
