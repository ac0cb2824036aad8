"""What confines a wasm container beside its container and the engine: nothing a guest cannot need.

An engine that a guest broke out of would find a process without capabilities that can gain none, and the system
calls below: files, sockets, time and threads. No program can be executed, no namespace made or entered, nothing
mounted, traced or loaded. A filter in the spec takes the place of this one; unsafe annotations, which the node
has to allow, turn each part off.
"""

from __future__ import annotations

from runwasi.engines.annotations import CAPABILITIES, SECCOMP
from runwasi.oci.record import replaced
from runwasi.oci.seccomp import Seccomp, Syscall, SyscallArg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.oci.process import Process

_ENOSYS = 38
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* that clone takes
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10

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

PROFILE = Seccomp(
    default_action="SCMP_ACT_ERRNO",
    syscalls=(
        Syscall(
            names=tuple(f"{_FILES}{_SOCKETS}{_WAITING}{_MEMORY} {_PROCESS}".split()), action="SCMP_ACT_ALLOW"
        ),
        Syscall(
            names=("clone",),
            action="SCMP_ACT_ALLOW",
            args=(SyscallArg(index=0, value=_NEW_NAMESPACES, value_two=0, op="SCMP_CMP_MASKED_EQ"),),
        ),
        # its flags are out of a filter's sight; the C library then uses clone
        Syscall(names=("clone3",), action="SCMP_ACT_ERRNO", errno_ret=_ENOSYS),
        *(
            Syscall(
                names=("socket",),
                action="SCMP_ACT_ALLOW",
                args=(SyscallArg(index=0, value=family, op="SCMP_CMP_EQ"),),
            )
            for family in (_AF_UNIX, _AF_INET, _AF_INET6)
        ),
    ),
)
"""The filter of a wasm container whose spec has none."""


def confined(process: Process, annotations: Mapping[str, str]) -> Process:
    """Return the process as a wasm container runs it: it gains no privileges and has no capabilities."""
    kept = process.capabilities if CAPABILITIES.of(annotations) else None
    return replaced(process, no_new_privileges=True, capabilities=kept)


def wants_filter(annotations: Mapping[str, str]) -> bool:
    """Return whether a wasm container without a filter of its own gets PROFILE."""
    return not SECCOMP.of(annotations)
