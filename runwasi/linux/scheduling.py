"""Sets when and where a thread runs: CPU and I/O scheduling, CPU and memory affinity, personality.

Names are those of the man pages; the values are of linux/sched.h, ioprio.h, mempolicy.h and personality.h.
"""

from __future__ import annotations

import os
from struct import Struct

from runwasi.linux.libc import (
    SYS_IOPRIO_SET,
    SYS_PERSONALITY,
    SYS_SCHED_SETATTR,
    SYS_SET_MEMPOLICY,
    check,
    syscall,
)
from runwasi.startup.thin_ctypes import create_string_buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
POLICY_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
MEMORY_POLICIES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_POLICY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}

# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, util_min, util_max
SCHED_ATTR = Struct("=IIQiIQQQII")
_IOPRIO_WHO_PROCESS, _IOPRIO_CLASS_SHIFT = 1, 13
_HIGHEST = 1 << 16


def set_scheduler(
    policy: str,
    *,
    nice: int = 0,
    priority: int = 0,
    flags: Iterable[str] = (),
    runtime: int = 0,
    deadline: int = 0,
    period: int = 0,
    pid: int = 0,
) -> None:
    """Set the CPU scheduling policy of process pid, or this thread: a key of POLICIES, flags of POLICY_FLAGS.

    runtime, deadline and period are in nanoseconds. Raises OSError: EPERM without CAP_SYS_NICE, EBUSY if
    SCHED_DEADLINE cannot be guaranteed. Source: man 2 sched_setattr.
    """
    mask = _mask(POLICY_FLAGS, flags)
    attributes = SCHED_ATTR.pack(
        SCHED_ATTR.size, POLICIES[policy], mask, nice, priority, runtime, deadline, period, 0, 0
    )
    check(syscall(SYS_SCHED_SETATTR, pid, attributes, 0), "sched_setattr", policy)


def set_io_priority(io_class: str, priority: int, pid: int = 0) -> None:
    """Set the I/O scheduling class, a key of IO_CLASSES, and the priority, 0 to 7, of process pid or ours.

    Raises OSError. Source: man 2 ioprio_set.
    """
    value = IO_CLASSES[io_class] << _IOPRIO_CLASS_SHIFT | priority
    check(syscall(SYS_IOPRIO_SET, _IOPRIO_WHO_PROCESS, pid, value), "ioprio_set", f"{io_class} {priority}")


def set_affinity(cpus: str, pid: int = 0) -> None:
    """Let process pid, or this thread, run only on the CPUs of a list such as "0-3,7".

    Raises ValueError for a malformed list, OSError if none of the CPUs may be used.
    """
    try:
        os.sched_setaffinity(pid, parse_list(cpus))
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"sched_setaffinity {cpus}") from None


def reset_affinity(pid: int = 0) -> None:
    """Let process pid run on every CPU of its cgroup, whichever CPUs the runtime itself may use.

    Ignores the kernel's refusal. Source: man 7 cpuset.
    """
    try:
        os.sched_setaffinity(pid, range(os.sysconf("SC_NPROCESSORS_CONF")))
    except OSError:
        return


def set_memory_policy(mode: str, nodes: str, flags: Iterable[str] = ()) -> None:
    """Set the NUMA policy of this thread, a key of MEMORY_POLICIES, over the nodes of a list such as "0-1".

    flags are keys of MEMORY_POLICY_FLAGS. Raises ValueError for a malformed list, OSError: ENOSYS on a kernel
    without NUMA. Source: man 2 set_mempolicy.
    """
    wanted = MEMORY_POLICIES[mode] | _mask(MEMORY_POLICY_FLAGS, flags)
    numbers = parse_list(nodes) if nodes else set()
    call = f"{mode} {nodes}".strip()
    if not numbers:
        check(syscall(SYS_SET_MEMPOLICY, wanted, None, 0), "set_mempolicy", call)
        return
    # The kernel reads whole longs, and one bit less than the given number.
    size = (max(numbers) // 64 + 1) * 8
    mask = create_string_buffer(sum(1 << number for number in numbers).to_bytes(size, "little"), size)
    check(syscall(SYS_SET_MEMPOLICY, wanted, mask, size * 8 + 1), "set_mempolicy", call)


def set_personality(domain: str) -> None:
    """Set the execution domain, a key of PERSONALITIES: LINUX32 makes uname report a 32-bit machine."""
    check(syscall(SYS_PERSONALITY, PERSONALITIES[domain]), "personality", domain)


def parse_list(text: str) -> set[int]:
    """Return the numbers of a list such as "0-3,7". Raises ValueError if it is malformed."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise ValueError(f"{text!r} is not a list of numbers and ranges")
        start, end = int(first), int(last or first)
        if start > end or end >= _HIGHEST:
            raise ValueError(f"{text!r} contains a range that is reversed or too high")
        numbers.update(range(start, end + 1))
    return numbers


def _mask(known: dict[str, int], names: Iterable[str]) -> int:
    mask = 0
    for name in names:
        mask |= known[name]
    return mask
