"""Makes filters for wasm containers whose spec has none, from the system calls that an engine was measured to need.

`python -m scripts.measure_syscalls` measures what each engine calls for each kind of program, once its filter
is loaded, over the tests of WASI, engines, components and HTTP, and writes wasm_syscalls. This module adds
calls that a measurement on one machine cannot show, each with its reason. An engine without measurements gets
the widest filter: files, sockets, time and threads. No filter lets a process execute a program, make or enter a
namespace, mount, trace or load anything.
"""

from __future__ import annotations

from runwasi.executor.workload.wasm_syscalls import ARGUMENTS, EXECUTABLE_MEMORY, SYSCALLS
from runwasi.oci.seccomp import Seccomp, Syscall, SyscallArg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeAlias

    Rules: TypeAlias = tuple[tuple[str, ...], tuple[tuple[str, int, int, int], ...]]
    """Calls that are allowed, and those that are where an argument fits: call, argument, mask or 0, value."""

FILTERS = tuple(SYSCALLS)
"""The filters by name: an engine, and what it runs."""

_ENOSYS = 38
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* that clone takes
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_PROT_EXEC = 4
_PROTECTING = {"mmap", "mprotect", "pkey_mprotect"}

_FILES = """
    access chdir close close_range copy_file_range dup dup2 dup3 eventfd2 faccessat faccessat2 fadvise64 fallocate
    fchdir fcntl fdatasync flock fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64
    ioctl link linkat lseek lstat memfd_create mkdir mkdirat newfstatat open openat openat2 pipe pipe2 pread64
    preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat renameat2
    rmdir sendfile splice stat statfs statx symlink symlinkat sync_file_range truncate umask unlink unlinkat
    utimensat write writev
"""
_SOCKETS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg
    sendmsg sendto setsockopt shutdown socketpair
"""
_WAITING = """
    alarm clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2
    epoll_wait getitimer gettimeofday nanosleep poll ppoll pselect6 select setitimer time timerfd_create
    timerfd_gettime timerfd_settime
"""
_MEMORY = "brk madvise mincore mlock mmap mprotect mremap msync munlock munmap"
_PROCESS = """
    arch_prctl exit exit_group futex futex_waitv get_robust_list getegid geteuid getgid getgroups getpgrp getpid
    getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid gettid getuid kill membarrier
    pidfd_open pidfd_send_signal pkey_alloc pkey_free pkey_mprotect prctl prlimit64 restart_syscall rseq
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    sched_getaffinity sched_getparam sched_getscheduler sched_yield set_robust_list set_tid_address sigaltstack
    sysinfo tgkill tkill uname wait4 waitid
"""
_WIDEST = frozenset(f"{_FILES}{_SOCKETS}{_WAITING}{_MEMORY} {_PROCESS}".split())

_ALWAYS_TEXT = """
    exit exit_group rt_sigreturn restart_syscall
    brk mmap mprotect mremap munmap madvise
    clock_gettime clock_getres gettimeofday time getcpu
    futex sched_yield set_robust_list rseq rt_sigprocmask rt_sigaction sigaltstack gettid getpid tgkill
    close fcntl fstat lseek read write readv writev
"""
_ALWAYS = frozenset(_ALWAYS_TEXT.split())
"""Calls of every filter: ends, returns from signals and interrupted calls; the allocator, whose choice of call
depends on sizes; the clocks, for which the vDSO asks the kernel where it cannot read a machine's clock; what the C
library does for its threads and for abort; and what engines and we do with the descriptors at hand."""

_SAME_WORK = tuple(
    frozenset(group.split())
    for group in """
    open openat
    stat lstat newfstatat statx
    access faccessat faccessat2
    readlink readlinkat
    mkdir mkdirat
    rmdir unlink unlinkat
    rename renameat renameat2
    link linkat
    symlink symlinkat
    getdents getdents64
    utimensat futimesat
    pipe pipe2
    dup dup2 dup3
    eventfd eventfd2
    poll ppoll
    select pselect6
    epoll_create epoll_create1
    epoll_wait epoll_pwait epoll_pwait2
    accept accept4
    read pread64 readv preadv preadv2
    write pwrite64 writev pwritev pwritev2
    sendto sendmsg sendmmsg
    recvfrom recvmsg recvmmsg
    nanosleep clock_nanosleep
    wait4 waitid
    getrlimit prlimit64
    fsync fdatasync
    rt_sigtimedwait rt_sigpending
    """.strip().splitlines()
)
"""Calls that do the same; which of them is made depends on the C library, its version and the CPU."""


_NEW_SOCKETS = frozenset(("bind", "connect", "listen", "socketpair"))
_INHERITED_SOCKETS = "accept4 getsockname recvfrom recvmsg sendto sendmsg shutdown"
_COMPILED_HERE = "memfd_create ftruncate membarrier"
_MORE: Mapping[str, tuple[str, tuple[int, ...]]] = {
    # sock_accept and its like, on a socket that the caller passed on: no test here has one
    "wasmtime-core": (_INHERITED_SOCKETS, ()),
    # a component that is compiled where it runs, as there is no artefact of it: its memories begin in a memfd, and on
    # arm64 the other CPUs have to be told of new code
    "wasmtime-component": (_COMPILED_HERE, ()),
    "wasmtime-http": (_COMPILED_HERE, ()),
    # their own WASI: the tests make only some of its calls; WasmEdge's socket extension; WASIX
    "wasmedge-core": (_FILES + _WAITING, (_AF_INET, _AF_INET6)),
    "wasmer-core": (_FILES + _WAITING, (_AF_INET, _AF_INET6)),
}
"""Additions that the tests of an engine do not reach: calls, and the families of sockets that it may make."""


_ALSO_RUNS = {"wasmtime-http": ("wasmtime-component",)}
"""Further uses of a filter: a guest that answers requests may do whatever a command may."""


def rules_of(name: str, *, network: bool) -> Rules:
    """Return the rules of the filter with this name in FILTERS, and the widest for any other name.

    Without network they allow no new socket, nor what one is made for; one that was accepted or inherited works.
    An HTTP server listens before its filter is loaded.
    """
    if name not in FILTERS:
        every = (_AF_UNIX, _AF_INET, _AF_INET6) if network else ()
        return _rules(_WIDEST if network else _WIDEST - _NEW_SOCKETS, _VALUES, every, executable=True)
    more, families = _MORE.get(name, ("", ()))
    runs = (name, *_ALSO_RUNS.get(name, ()))

    def values_of(call: str) -> set[int]:
        return {value for each in runs for value in ARGUMENTS[each].get(call, ())}

    families = _families((*families, *values_of("socket")), network)
    measured = {call for each in runs for call in SYSCALLS[each]}
    measured.update(more.split(), _SOCKETS.split() if families else ())
    measured.difference_update(() if families else _NEW_SOCKETS)
    allowed = _ALWAYS.union(measured, *(group for group in _SAME_WORK if not group.isdisjoint(measured)))
    values = {call: {*known, *values_of(call)} for call, known in _MORE_VALUES.items()}
    return _rules(allowed & _WIDEST, values, families, executable=name in EXECUTABLE_MEMORY)


def _families(known: Iterable[int], network: bool) -> tuple[int, ...]:
    """Return the address families of sockets that may be made; IPv4 and IPv6 always come together."""
    families = {_AF_UNIX, _AF_INET, _AF_INET6} & set(known)
    if families & {_AF_INET, _AF_INET6}:
        families |= {_AF_INET, _AF_INET6}
    return tuple(sorted(families)) if network else ()


def _rules(
    names: frozenset[str], values: Mapping[str, Iterable[int]], families: Iterable[int], *, executable: bool
) -> Rules:
    judged = {"clone", "clone3", "socket", *_BY_ARGUMENT, *(() if executable else _PROTECTING)}
    conditions = [("clone", 0, _NEW_NAMESPACES, 0), *(("socket", 0, 0, family) for family in families)]
    for name in sorted(names & _BY_ARGUMENT.keys()):
        conditions += [(name, _BY_ARGUMENT[name], 0, value) for value in sorted(values[name])]
    if not executable:
        conditions += [(name, 2, _PROT_EXEC, 0) for name in sorted(names & _PROTECTING)]
    return tuple(sorted(names - judged)), tuple(conditions)


def profile(rules: Rules) -> Seccomp:
    """Return the seccomp profile that these rules make: all other calls fail with EPERM, and clone3 with ENOSYS.

    Source: runtime-spec config-linux.md#seccomp.
    """
    names, conditions = rules
    return Seccomp(
        default_action="SCMP_ACT_ERRNO",
        syscalls=(
            Syscall(names=names, action="SCMP_ACT_ALLOW"),
            # a filter cannot see its flags; the C library then uses clone
            Syscall(names=("clone3",), action="SCMP_ACT_ERRNO", errno_ret=_ENOSYS),
            *(_allowed_if(*condition) for condition in conditions),
        ),
    )


def _allowed_if(name: str, index: int, mask: int, value: int) -> Syscall:
    """Allow a call if an argument, or its bits in mask, has a value."""
    if mask:
        argument = SyscallArg(index=index, value=mask, value_two=value, op="SCMP_CMP_MASKED_EQ")
    else:
        argument = SyscallArg(index=index, value=value, op="SCMP_CMP_EQ")
    return Syscall(names=(name,), action="SCMP_ACT_ALLOW", args=(argument,))


_BY_ARGUMENT = {"ioctl": 1, "prctl": 0, "prlimit64": 2}
"""Calls of many uses, by the index of the argument that says which: a filter allows some of them."""

_MORE_VALUES: Mapping[str, tuple[int, ...]] = {
    "ioctl": (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451, 0x802C542A),
    "prctl": (4, 15, 0x53564D41),
    "prlimit64": (0,),
}
"""Values that depend on where a filter's process runs. ioctl: TCGETS, TCGETS2, TIOCGWINSZ of a terminal, FIONREAD,
FIONBIO, FIONCLEX, FIOCLEX. prctl: PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_VMA (names of memory). prlimit64: no new
limit."""

_VALUES: Mapping[str, tuple[int, ...]] = {
    "ioctl": (*_MORE_VALUES["ioctl"], 0x5402, 0x5403, 0x5404, 0x540F, 0x402C542B, 0x402C542C, 0x402C542D),
    "prctl": (*_MORE_VALUES["prctl"], 1, 3, 16, 23, 29, 30, 38, 39, 41),
    "prlimit64": (0,),
}
"""The same for the widest filter, which also has: settings of a terminal; the signal of the parent's death, what is
dumpable, the name, capabilities and no_new_privs for reading, the timers' slack, huge pages off."""
