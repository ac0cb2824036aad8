"""Examines callers, and what a server would have inherited if the caller had started it itself.

A process inherits more than arguments and environment. The daemon gives its fork everything that it can; if caller
and daemon differ in anything else, such as the namespaces, the caller goes on without the daemon.
Source: man 2 fork, man 5 proc.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False

_NAMESPACES = ("mnt", "pid", "net", "user", "ipc", "uts", "cgroup", "time")
_KEPT = (
    b"Uid",
    b"Gid",
    b"CapInh",
    b"CapPrm",
    b"CapEff",
    b"CapBnd",
    b"CapAmb",
    b"NoNewPrivs",
    b"Seccomp",
    b"Cpus_allowed",
    b"Mems_allowed",
)
"""Lines of /proc/PID/status that must be equal for daemon and caller."""


_MAX_OOM_SCORE = 1000


class Differs(Exception):
    """The caller's surroundings differ from the daemon's; the text says how."""


class Inheritance:
    """The properties that a fork takes over from the caller."""

    __slots__ = ("cgroups", "limits", "nice", "oom_score", "umask")

    def __init__(self, umask: int, oom_score: int, nice: int, cgroups: bytes, limits: bytes) -> None:
        self.umask = umask
        self.oom_score = oom_score
        self.nice = nice
        self.cgroups = cgroups
        self.limits = limits

    @classmethod
    def of(cls, pid: int | str, umask: int) -> Inheritance:
        """Read a process's properties. Raises OSError."""
        nice = os.getpriority(os.PRIO_PROCESS, 0 if pid == "self" else int(pid))
        return cls(umask, int(_read(pid, "oom_score_adj")), nice, _read(pid, "cgroup"), _read(pid, "limits"))

    def take_over(self, own: Inheritance) -> None:
        """Give this process these properties; own are its current ones. Raises OSError."""
        if self.cgroups != own.cgroups:
            from runwasi.linux.cgroups import (
                joining,
            )  # late: only where daemon and containerd are units of their own

            joining.join(self.cgroups.decode())
        self._take(own)
        _set_oom_score(self.oom_score)  # the server adds one

    def adopt(self, own: Inheritance) -> None:
        """Give this process these properties but the cgroups; own, its current ones, is updated.

        Raises OSError.
        """
        self._take(own)
        _set_oom_score(min(self.oom_score + 1, _MAX_OOM_SCORE))
        own.umask, own.limits, own.nice, own.oom_score = self.umask, self.limits, self.nice, self.oom_score

    def same_as(self, other: Inheritance) -> bool:
        """Return whether all but the cgroups is equal; a container's processes leave those anyway."""
        mine, theirs = ((one.umask, one.limits, one.nice, one.oom_score) for one in (self, other))
        return mine == theirs

    def _take(self, own: Inheritance) -> None:
        os.umask(self.umask)
        if self.limits != own.limits:
            _take_limits(self.limits.decode())
        if self.nice != own.nice:
            os.setpriority(os.PRIO_PROCESS, 0, self.nice)


class Surroundings:
    """The daemon's own surroundings, to compare a caller's with."""

    def __init__(self) -> None:
        self._fixed, umask = _fixed("self")
        self.own = Inheritance.of("self", umask)

    def of(self, pid: int) -> Inheritance:
        """Examine a waiting caller. Raises Differs; OSError if it is gone."""
        if pid <= 0:
            raise Differs("another pid namespace")
        fixed, umask = _fixed(pid)
        for ours, theirs in zip(self._fixed, fixed, strict=True):
            if ours != theirs:
                raise Differs(f"{theirs!r} instead of {ours!r}")
        return Inheritance.of(pid, umask)


def _fixed(pid: int | str) -> tuple[list[object], int]:
    """Return the lines that must be equal, and the umask, which is in the same file."""
    found: list[object] = [_link(f"/proc/{pid}/ns/{kind}") for kind in _NAMESPACES]
    root = os.stat(f"/proc/{pid}/root/.")
    found.append((root.st_dev, root.st_ino))
    found.append(_label(pid))
    umask = 0o022
    for line in _read(pid, "status").split(b"\n"):  # only that ends a line: the name may have other controls
        name, _, value = line.partition(b":\t")
        if name in _KEPT:
            found.append(line)
        elif name == b"Umask":
            umask = int(value, 8)
    return found, umask


def _set_oom_score(score: int) -> None:
    with open("/proc/self/oom_score_adj", "wb", 0) as file:
        file.write(str(score).encode())


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""  # a kind that this kernel lacks


def _label(pid: int | str) -> bytes:
    """Return the label of a security module, which children inherit; b"" if there is none."""
    try:
        return _read(pid, "attr/current")
    except OSError:
        return b""


def _take_limits(text: str) -> None:
    """Set the limits of a /proc/PID/limits file, which names them in words for people."""
    from runwasi.linux.rlimits import RLIM_INFINITY, RLIMITS, set_rlimit  # late: as above

    # in the order of the resources' numbers but for these two: linux/fs/proc/base.c, lnames
    for name, line in zip(RLIMITS, text.splitlines()[1:], strict=True):
        soft, hard = line[26:].split()[:2]
        values = (RLIM_INFINITY if value == "unlimited" else int(value) for value in (soft, hard))
        set_rlimit(name, *values)


def _read(pid: int | str, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb", 0) as file:
        return file.read(1 << 16)
