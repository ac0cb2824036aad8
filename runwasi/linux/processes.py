"""Processes: fork into namespaces with clone3, pidfds, closing descriptors, prctl and /proc/PID/stat."""

from __future__ import annotations

import os
from _struct import pack

from runwasi.linux.libc import (
    SYS_CLONE3,
    SYS_CLOSE_RANGE,
    SYS_PIDFD_OPEN,
    SYS_PIDFD_SEND_SIGNAL,
    check,
    libc,
    syscall,
)
from runwasi.startup.thin_ctypes import (
    PyDLL,
    addressof,
    byref,
    c_int,
    c_long,
    c_void_p,
    get_errno,
    pythonapi,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# linux/sched.h
CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_CHILD_CLEARTID = 0x00200000
CLONE_CHILD_SETTID = 0x01000000
CLONE_CLEAR_SIGHAND = 0x100000000
CLONE_INTO_CGROUP = 0x200000000

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_GET_TID_ADDRESS = 40

_EINVAL = 22
_SIGCHLD = 17
_CLOSE_RANGE_CLOEXEC = 4
_LAST_FD = 0xFFFFFFFF


# PyDLL keeps the interpreter lock over the call, as os.fork() does: nobody in the child could give it back.
_clone3 = PyDLL(None, use_errno=True).syscall
_clone3.argtypes = (c_long, c_void_p, c_long)
_clone3.restype = c_long


_in_children: Callable[[], None] | None = None


def call_in_children(callback: Callable[[], None]) -> None:
    """Have every child of fork_into call this first."""
    global _in_children  # noqa: PLW0603  a property of the process, as what it is for
    _in_children = callback


class Child:
    """A forked process: its pid, and a close-on-exec pidfd that the caller owns and closes."""

    __slots__ = ("pid", "pidfd")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd

    def __repr__(self) -> str:
        return f"Child(pid={self.pid}, pidfd={self.pidfd})"


def fork_into(flags: int = 0, cgroup_fd: int = -1) -> Child | None:
    """Fork into the new namespaces of flags (CLONE_NEW*) and, with cgroup_fd, into that v2 cgroup.

    Returns the Child in the parent and None in the child. One clone3 makes the namespaces, so the child is a
    direct child even when it is the first process of a pid namespace, and a pidfd without a race. The caller
    must have one thread. Raises OSError. Source: man 2 clone3.
    """
    pidfd = c_int(-1)
    tid_address = _tid_address()
    asked = flags | CLONE_PIDFD
    if tid_address:
        # The C library remembers the thread id of the main thread and sends signals to it by that id; its
        # own fork has the kernel renew it the same way.
        asked |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
    if cgroup_fd >= 0:
        asked |= CLONE_INTO_CGROUP
    # a sibling ends as we do; the kernel wants no other word on it
    exit_signal = 0 if flags & CLONE_PARENT else _SIGCHLD
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, then stack, stack_size, tls, set_tid,
    # set_tid_size, cgroup
    args = pack("=5Q", asked, addressof(pidfd), tid_address, 0, exit_signal)
    args += pack("=6Q", 0, 0, 0, 0, 0, max(cgroup_fd, 0))
    pythonapi.PyOS_BeforeFork()
    pid = _clone3(SYS_CLONE3, args, len(args))
    if pid == 0:
        pythonapi.PyOS_AfterFork_Child()
        if _in_children is not None:
            _in_children()
        return None
    errno = get_errno()
    pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        from runwasi.linux.namespaces import refusal  # late: it may well succeed

        raise refusal(errno, "clone3", flags)
    return Child(pid, pidfd.value)


def _tid_address() -> int:
    """Return where the C library keeps the main thread's id, or 0 where the kernel cannot tell."""
    address = c_void_p()
    if libc.prctl(PR_GET_TID_ADDRESS, byref(address), None, None, None) == -1:  # no CONFIG_CHECKPOINT_RESTORE
        return 0
    return address.value or 0


def pidfd_open(pid: int) -> int:
    """Open a close-on-exec descriptor that stands for process pid. Raises ProcessLookupError."""
    try:
        return check(syscall(SYS_PIDFD_OPEN, pid, 0), "pidfd_open", pid)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        # the process is gone, and others are still of its session or group
        raise ProcessLookupError(3, "No such process", f"pidfd_open {pid}") from None


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """Send a signal to the process behind pidfd. Raises ProcessLookupError once it was reaped."""
    check(syscall(SYS_PIDFD_SEND_SIGNAL, pidfd, signal, None, 0), "pidfd_send_signal", signal)


def reap(pidfd: int) -> int:
    """Wait for the child behind pidfd and return its exit code, 128 + n when signal n ended it.

    Raises ChildProcessError when it is not our child or was reaped before.
    """
    status = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert status is not None  # only WNOHANG returns nothing
    return status.si_status if status.si_code == os.CLD_EXITED else 128 + status.si_status


def close_range(first: int, last: int = _LAST_FD, *, cloexec: bool = False) -> None:
    """Close the descriptors first to last, both included; with cloexec only mark them close-on-exec."""
    flags = _CLOSE_RANGE_CLOEXEC if cloexec else 0
    check(syscall(SYS_CLOSE_RANGE, first, last, flags), "close_range", f"{first} to {last}")


def close_fds_except(kept: Iterable[int]) -> None:
    """Close every descriptor that is not in kept."""
    first = 0
    for fd in sorted(set(kept)):
        if fd > first:
            close_range(first, fd - 1)
        first = fd + 1
    close_range(first)


def prctl(option: int, name: str, value: object = 0) -> int:
    """Call prctl with one argument; name stands in the OSError. Source: man 2 prctl."""
    return check(libc.prctl(option, value, None, None, None), "prctl", name)


def set_no_new_privs() -> None:
    """Make execve grant no privileges from now on; it cannot be undone."""
    prctl(PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS", 1)


def set_dumpable(dumpable: bool) -> None:
    """Allow or forbid core dumps, ptrace and opening our /proc/PID entries by processes less privileged."""
    prctl(PR_SET_DUMPABLE, "PR_SET_DUMPABLE", int(dumpable))


def set_child_subreaper(reaps: bool = True) -> None:
    """Become (or cease to be) the parent of orphaned descendants."""
    prctl(PR_SET_CHILD_SUBREAPER, "PR_SET_CHILD_SUBREAPER", int(reaps))


def set_pdeathsig(signal: int) -> None:
    """Have the kernel send us signal when the thread that forked us ends; 0 turns it off."""
    prctl(PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG", signal)


def set_name(name: str) -> None:
    """Set the name that ps and /proc/PID/comm show; 15 bytes are kept."""
    prctl(PR_SET_NAME, "PR_SET_NAME", os.fsencode(name)[:15])


def set_title(title: str) -> None:
    """Set the whole command line that ps shows, for processes that live long."""
    from prctl import set_proctitle  # type: ignore[import-untyped]  # late: 1.5 ms, and needs libcap

    set_proctitle(title)


def set_keepcaps(keep: bool) -> None:
    """Keep the permitted capabilities over the next change from user 0 to another."""
    prctl(PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS", int(keep))


def start_time(pid: int) -> int:
    """Return when process pid started, in clock ticks after boot: with its pid it names it for good.

    Raises ProcessLookupError when there is no such process. Source: man 5 proc, /proc/[pid]/stat field 22.
    """
    return int(_stat_fields(pid)[19])


def process_state(pid: int) -> str:
    """Return the one-letter state of process pid ("R", "S", "T", "Z" ...). Raises ProcessLookupError."""
    return _stat_fields(pid)[0]


def _stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third, the state, on."""
    try:
        with open(f"/proc/{pid}/stat", "rb", 0) as file:
            line = file.read(4096)
    except FileNotFoundError:
        raise ProcessLookupError(3, "No such process", f"read /proc/{pid}/stat") from None
    # The second field, the name, may hold spaces and parentheses of its own.
    return line[line.rindex(b")") + 2 :].decode().split()
