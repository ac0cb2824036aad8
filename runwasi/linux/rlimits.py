"""Sets resource limits by name, with full 64-bit values."""

from __future__ import annotations

from runwasi.linux.libc import check, libc
from runwasi.startup.thin_ctypes import c_uint64

RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}
"""All resources of asm-generic/resource.h by name; x86 and ARM use these numbers."""

RLIM_INFINITY = 2**64 - 1
Rlimit64 = c_uint64 * 2  # struct rlimit64: soft, hard


def set_rlimit(name: str, soft: int, hard: int, pid: int = 0) -> None:
    """Set the limits of resource name (a key of RLIMITS) for process pid; 0 is this process.

    soft and hard range from 0 to RLIM_INFINITY. Raises OSError: EPERM if hard would rise without
    CAP_SYS_RESOURCE, EINVAL if soft is above hard. Source: man 2 prlimit.
    """
    limits = Rlimit64(soft, hard)
    check(libc.prlimit64(pid, RLIMITS[name], limits, None), "prlimit", name)


def get_rlimit(name: str, pid: int = 0) -> tuple[int, int]:
    """Return the soft and hard limit of resource name (a key of RLIMITS) of process pid; 0 is this process."""
    limits = Rlimit64()
    check(libc.prlimit64(pid, RLIMITS[name], None, limits), "prlimit", name)
    return limits[0], limits[1]


class OpenFiles:
    """Raises the limit of open files for a process that needs many, and restores it for its children.

    Programs that use select(2) break above 1024, which is why that is the usual soft limit.
    """

    def __init__(self) -> None:
        self._soft: int | None = None

    def raise_limit(self) -> None:
        """Raise the soft limit to the hard limit. Raises OSError."""
        soft, hard = get_rlimit("RLIMIT_NOFILE")
        if soft < hard:
            self._soft = soft
            set_rlimit("RLIMIT_NOFILE", hard, hard)

    @property
    def soft(self) -> int | None:
        """Return the soft limit that restore brings back, None if it was not raised."""
        return self._soft

    def was_raised(self, soft: int | None) -> None:
        """Note that an earlier program of this process has raised the limit from soft."""
        self._soft = soft

    def restore(self) -> None:
        """Restore the soft limit if it was raised. Raises OSError."""
        if self._soft is not None:
            set_rlimit("RLIMIT_NOFILE", self._soft, get_rlimit("RLIMIT_NOFILE")[1])
            self._soft = None
