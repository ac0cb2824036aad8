"""Handles processes: clone3 into namespaces, pidfds, closing descriptors, prctl and /proc/PID/stat."""

from __future__ import annotations

import os
import select
from struct import Struct, pack_into, unpack_from
from time import monotonic

from runwasi.linux.libc import (
    SYS_BRK,
    SYS_CLONE3,
    SYS_CLOSE_RANGE,
    SYS_PIDFD_OPEN,
    SYS_PIDFD_SEND_SIGNAL,
    check,
    libc,
    syscall,
)
from runwasi.linux.waiting import Wait
from runwasi.startup.thin_ctypes import (
    PyDLL,
    addressof,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_long,
    c_void_p,
    get_errno,
    pythonapi,
)
from runwasi.startup.thin_signal import SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, set_wakeup_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runwasi.linux.waiting import Operation

# linux/sched.h
CLONE_VM = 0x00000100
CLONE_FILES = 0x00000400
CLONE_PIDFD = 0x00001000
CLONE_VFORK = 0x00004000
CLONE_PARENT = 0x00008000
CLONE_CHILD_CLEARTID = 0x00200000
CLONE_CHILD_SETTID = 0x01000000
CLONE_CLEAR_SIGHAND = 0x100000000
CLONE_INTO_CGROUP = 0x200000000

_PF_FORKNOEXEC = 0x40  # the kernel's linux/sched.h
_ENDING = (SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGTERM)
"""Signals by which somebody asks a process to end."""

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_GET_TID_ADDRESS = 40
_PR_SET_MM, _PR_SET_MM_MAP = 35, 14

_EINVAL = 22
_SIGCHLD = 17
_DYING = 10.0  # seconds to wait for a killed process; later the kernel is holding it
_CLOSE_RANGE_CLOEXEC = 4
_LAST_FD = 0xFFFFFFFF

CLONE_ARGS = Struct("=11Q")  # struct clone_args
MM_MAP = Struct("=12Q2I")  # struct prctl_mm_map


# PyDLL keeps the interpreter's lock during the call, as os.fork() does: the child could not take it again.
_clone3 = PyDLL(None, use_errno=True).syscall
_clone3.argtypes = (c_long, c_void_p, c_long)
_clone3.restype = c_long


_in_children: Callable[[], None] | None = None


def call_in_children(callback: Callable[[], None]) -> None:
    """Register a function that every child of fork_into calls first."""
    global _in_children  # noqa: PLW0603  a property of the process
    _in_children = callback


class Child:
    """A forked process: its pid, and a close-on-exec pidfd that the caller owns."""

    __slots__ = ("pid", "pidfd")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd

    def __repr__(self) -> str:
        return f"Child(pid={self.pid}, pidfd={self.pidfd})"


def fork_into(flags: int = 0, cgroup: int | None = None) -> Child | None:
    """Fork into new namespaces (CLONE_NEW* flags) and, with its descriptor, into a v2 cgroup.

    Returns the Child in the parent and None in the child. A single clone3 makes the namespaces, so the child is
    a direct child even as the first process of a pid namespace, and its pidfd has no race. The caller must have
    one thread. Raises OSError. Source: man 2 clone3.
    """
    pidfd = c_int(-1)
    tid_address = _tid_address()
    asked = flags | CLONE_PIDFD
    if tid_address:
        # The C library remembers the main thread's id and uses it to send signals; its own fork makes the
        # kernel update it in the same way.
        asked |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
    if cgroup is not None:
        asked |= CLONE_INTO_CGROUP
    # a sibling has our exit signal, and the kernel accepts no other
    exit_signal = 0 if flags & CLONE_PARENT else _SIGCHLD
    # flags, pidfd, child_tid, parent_tid, exit_signal, then stack, stack_size, tls, set_tid, set_tid_size, cgroup
    places = (addressof(pidfd), tid_address, 0)
    args = CLONE_ARGS.pack(asked, *places, exit_signal, 0, 0, 0, 0, 0, cgroup or 0)
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
        from runwasi.linux.namespaces import refusal  # late: only for an error

        raise refusal(errno, "clone3", flags)
    return Child(pid, pidfd.value)


def _tid_address() -> int:
    """Return the address of the C library's main thread id, 0 if the kernel cannot report it."""
    address = c_void_p()
    if libc.prctl(PR_GET_TID_ADDRESS, byref(address), None, None, None) == -1:  # no CONFIG_CHECKPOINT_RESTORE
        return 0
    return address.value or 0


def pidfd_open(pid: int) -> int:
    """Open a close-on-exec descriptor of process pid. Raises ProcessLookupError."""
    try:
        return check(syscall(SYS_PIDFD_OPEN, pid, 0), "pidfd_open", pid)
    except OSError as error:
        if error.errno != _EINVAL:
            raise
        # the process is gone, but its session or group still has others
        raise ProcessLookupError(3, "No such process", f"pidfd_open {pid}") from None


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """Send a signal to the process of pidfd. Raises ProcessLookupError once it has been reaped."""
    check(syscall(SYS_PIDFD_SEND_SIGNAL, pidfd, signal, None, 0), "pidfd_send_signal", signal)


def reap(pidfd: int) -> int:
    """Wait for the child of pidfd, and return its exit code, 128 + n if signal n ended it.

    Raises ChildProcessError if it is not our child, or has been reaped.
    """
    status = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert status is not None  # only WNOHANG returns None
    return _exit_code(status)


def reap_if_ended(pidfd: int) -> int | None:
    """Reap without waiting; return None while the child runs, or while somebody traces it.

    A pidfd is readable once its process has ended, but its tracer must reap a traced one first, and a tracer in a
    container may never do so. When the tracer detaches, the pidfd wakes its waiters again (man 2 ptrace). Raises
    as reap does.
    """
    status = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    return None if status is None else _exit_code(status)


def _exit_code(status: os.waitid_result) -> int:
    return status.si_status if status.si_code == os.CLD_EXITED else 128 + status.si_status


def end(pidfd: int) -> Operation[None]:
    """Kill a child, wait until it has ended, and close the pidfd; the child may be gone already.

    A child that the kernel keeps from ending is left to the reaper of orphans.
    """
    try:
        pidfd_send_signal(pidfd, SIGKILL)
        yield Wait((pidfd,), monotonic() + _DYING)
        reap_if_ended(pidfd)
    except (ProcessLookupError, ChildProcessError):
        pass
    finally:
        os.close(pidfd)


def work_apart(tie: int, kept: Iterable[int]) -> None:
    """Keep only these descriptors and die with the parent, in a child whose work the parent must not wait for.

    tie is this child's end of a pipe or socket pair with the parent, and is kept too.
    """
    set_wakeup_fd(-1)  # the parent's
    die_with_parent(tie)
    close_fds_except({0, 1, 2, tie, *kept})


def die_with_parent(tie: int) -> None:
    """Die with the thread that forked us, and end now if it has ended: then tie, as above, is broken.

    The kernel forgets it if the process changes ids or gains capabilities (man 2 prctl, PR_SET_PDEATHSIG).
    """
    set_pdeathsig(SIGKILL)
    poll = select.poll()
    poll.register(tie, 0)
    if poll.poll(0):
        os._exit(1)


def close_range(first: int, last: int = _LAST_FD, *, cloexec: bool = False) -> None:
    """Close the descriptors from first to last, inclusive; with cloexec only mark them close-on-exec."""
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
    """Call prctl with one argument; the OSError contains name. Source: man 2 prctl."""
    return check(libc.prctl(option, value, None, None, None), "prctl", name)


def has_memory(pid: int) -> bool:
    """Return whether a process has a program in memory: a dying one loses it before its descriptors are closed."""
    try:
        os.readlink(f"/proc/{pid}/exe")
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True


def failed_unexecuted(pid: int) -> bool:
    """Return whether process pid has executed nothing since its fork, and ended unasked; False for one that is gone.

    The kernel notes an execve before it closes descriptors because of it, and keeps the note of a dead process. One
    that was killed with a signal for that was asked to end. Source: man 5 proc, fields 9 and 52 of /proc/PID/stat.
    """
    try:
        fields = _stat_fields(pid)
    except ProcessLookupError:
        return False
    return bool(int(fields[6]) & _PF_FORKNOEXEC) and int(fields[49]) & 0x7F not in _ENDING


def set_no_new_privs() -> None:
    """Make execve grant no privileges from now on, irrevocably."""
    prctl(PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS", 1)


def set_dumpable(dumpable: bool) -> None:
    """Allow or forbid core dumps, and access to us by less privileged processes through ptrace and /proc/PID."""
    prctl(PR_SET_DUMPABLE, "PR_SET_DUMPABLE", int(dumpable))


def set_child_subreaper(reaps: bool = True) -> None:
    """Become the parent of orphaned descendants, or stop being it."""
    prctl(PR_SET_CHILD_SUBREAPER, "PR_SET_CHILD_SUBREAPER", int(reaps))


def set_pdeathsig(signal: int) -> None:
    """Make the kernel send us a signal when the thread that forked us ends; 0 turns this off."""
    prctl(PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG", signal)


def set_name(name: str) -> None:
    """Set the name that ps and /proc/PID/comm show, cut to 15 bytes."""
    prctl(PR_SET_NAME, "PR_SET_NAME", os.fsencode(name)[:15])


class CommandLine:
    """The command line that /proc/PID/cmdline shows for a child of this process, instead of our arguments.

    Made before the fork, so that no memory has to be copied. proc_fd is a procfs in which we are "self".
    Source: man 2 prctl, PR_SET_MM; kernel/sys.c, prctl_set_mm_map.
    """

    __slots__ = ("_layout", "_text")

    def __init__(self, arguments: Sequence[str], proc_fd: int) -> None:
        self._text = c_char_p(b"".join([os.fsencode(argument) + b"\0" for argument in arguments]))
        length = sum(len(os.fsencode(argument)) + 1 for argument in arguments)
        start = c_void_p.from_address(addressof(self._text)).value or 0
        end = start + length
        code, end_code, stack, data, end_data, heap, *_ = _own_memory(proc_fd)
        # start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start, arg_end, env_start,
        # env_end, auxv, auxv_size and exe_fd; the last three stay
        places = (code, end_code, data, end_data, heap, 0, stack, start, end, end, end)
        self._layout = bytearray(MM_MAP.pack(*places, 0, 0, _LAST_FD))

    def show(self) -> None:
        """Show it for this process, without an environment.

        A kernel without CONFIG_CHECKPOINT_RESTORE cannot use another address; then it is cut to the size of our own
        arguments.
        """
        pack_into("=Q", self._layout, _BRK, syscall(SYS_BRK, 0))
        if libc.prctl(_PR_SET_MM, _PR_SET_MM_MAP, bytes(self._layout), len(self._layout), None) == -1:
            self._overwrite()

    def _overwrite(self) -> None:
        """Overwrite our arguments with it, and clear our environment."""
        assert _memory
        arguments, arguments_end, environment, environment_end = _memory[6:]
        (start,) = unpack_from("=Q", self._layout, _ARG_START)
        (end,) = unpack_from("=Q", self._layout, _ARG_START + 8)
        text = (c_char * (end - start)).from_address(start).raw
        room = arguments_end - arguments
        (c_char * room).from_address(arguments).raw = text[: room - 1].ljust(room, b"\0")
        room = environment_end - environment
        (c_char * room).from_address(environment).raw = b"\0" * room


_BRK, _ARG_START = 5 * 8, 7 * 8
_memory: tuple[int, ...] | None = None


def _own_memory(proc_fd: int) -> tuple[int, ...]:
    """Return the addresses of our code, stack, data, heap, arguments and environment. Source: man 5 proc."""
    global _memory  # noqa: PLW0603 - it is the same in all our forks
    if _memory is None:
        fd = os.open("self/stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
        try:
            fields = _fields_of(os.read(fd, 4096))
        finally:
            os.close(fd)
        _memory = tuple(int(field) for field in (*fields[23:26], *fields[42:49]))
    return _memory


def set_title(title: str) -> None:
    """Set the whole command line that ps shows, for long-lived processes."""
    from prctl import set_proctitle  # type: ignore[import-untyped]  # late: 1.5 ms, and needs libcap

    set_proctitle(title)


def set_keepcaps(keep: bool) -> None:
    """Keep the permitted capabilities over the next change from user 0 to another."""
    prctl(PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS", int(keep))


def start_time(pid: int) -> int:
    """Return the start time of process pid, in clock ticks after boot: with the pid it is a unique name.

    Raises ProcessLookupError if there is no such process. Source: man 5 proc, /proc/[pid]/stat field 22.
    """
    return int(_stat_fields(pid)[19])


def process_state(pid: int) -> str:
    """Return the one-letter state of process pid ("R", "S", "T", "Z" ...). Raises ProcessLookupError."""
    return _stat_fields(pid)[0]


def _stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat, starting with the third, the state."""
    try:
        with open(f"/proc/{pid}/stat", "rb", 0) as file:
            return _fields_of(file.read(4096))
    except FileNotFoundError:
        raise ProcessLookupError(3, "No such process", f"read /proc/{pid}/stat") from None


def _fields_of(line: bytes) -> list[str]:
    # The second field, the name, may contain spaces and parentheses.
    return line[line.rindex(b")") + 2 :].decode().split()
