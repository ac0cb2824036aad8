"""Filters for tests, and what a filtered process gets for its calls."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from runwasi.linux import processes, seccomp_filter
from runwasi.linux.seccomp_filter import Filter
from runwasi.oci.seccomp import Seccomp, Syscall, SyscallArg

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.syscall.argtypes = (ctypes.c_long, *(ctypes.c_ulong,) * 6)

NEWER_THAN_ANY = 900
"""A system call number that no kernel has and no profile names."""


def call(number: int, *arguments: int) -> int:
    """Make a system call with six arguments; return its errno, 0 when it succeeded."""
    ctypes.set_errno(0)
    libc.syscall(number, *arguments, *(0,) * (6 - len(arguments)))
    return ctypes.get_errno()


def filtered(filter_: Filter, work: Callable[[], int]) -> int:
    """Do some work under a filter in a child; return what it returned, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        processes.set_no_new_privs()
        seccomp_filter.load_filter(filter_.program, filter_.flags)
        os._exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# What an ordinary program calls: about what Docker's default profile allows, whose size matters here.
_ORDINARY = """
accept accept4 access alarm bind brk capget capset chdir chmod chown clock_getres clock_gettime
clock_nanosleep clone close close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1
epoll_ctl epoll_pwait epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fallocate fchdir fchmod fchmodat fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork
fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_waitv getcpu getcwd getdents getdents64
getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom
getresgid getresuid getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid
gettimeofday getuid getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl
io_destroy io_getevents ioprio_get ioprio_set io_setup io_submit kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen listxattr llistxattr
lremovexattr lseek lsetxattr lstat madvise membarrier memfd_create mincore mkdir mkdirat mknod mknodat mlock
mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap
msgctl msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat open openat openat2 pause
pidfd_open pidfd_send_signal pipe pipe2 poll ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease
pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg
remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto setfsgid setfsuid
setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit
set_robust_list setsid setsockopt set_thread_area set_tid_address setuid setxattr shmat shmctl shmdt shmget
shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statx symlink symlinkat sync
sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime
timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink
unlinkat utime utimensat utimes vfork vmsplice wait4 waitid waitpid write writev arch_prctl modify_ldt
arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2
"""


def docker_like() -> Seccomp:
    """A profile of the size and the kinds of rules of Docker's default one."""
    arm64 = os.uname().machine == "aarch64"
    query = SyscallArg(index=0, value=0xFFFFFFFF, op="SCMP_CMP_EQ")
    return Seccomp(
        default_action="SCMP_ACT_ERRNO",
        architectures=(
            ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")
            if arm64
            else ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
        ),
        syscalls=(
            Syscall(names=tuple(_ORDINARY.split()), action="SCMP_ACT_ALLOW"),
            Syscall(names=("personality",), action="SCMP_ACT_ALLOW", args=(query,)),
            Syscall(names=("socket", "no_such_call_yet"), action="SCMP_ACT_ALLOW"),
        ),
    )


def number_of(name: str) -> int:
    """Return the number of a system call on this machine."""
    number: int = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name(name.encode())
    return number


_NEW_NAMESPACES = {
    "CLONE_NEWTIME": 0x80, "CLONE_NEWNS": 0x20000, "CLONE_NEWCGROUP": 0x2000000, "CLONE_NEWUTS": 0x4000000,
    "CLONE_NEWIPC": 0x8000000, "CLONE_NEWUSER": 0x10000000, "CLONE_NEWPID": 0x20000000, "CLONE_NEWNET": 0x40000000,
}  # fmt: skip
_WITHOUT_ARGUMENTS = """
execve execveat
mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr
unshare setns clone3
ptrace process_vm_readv process_vm_writev kcmp pidfd_getfd process_madvise
keyctl add_key request_key
bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
init_module finit_module delete_module kexec_load kexec_file_load
name_to_handle_at open_by_handle_at fanotify_init fanotify_mark inotify_add_watch quotactl
mknodat fchmodat fchownat setxattr fsetxattr
setuid setgid setresuid setresgid setgroups capset personality
reboot swapon swapoff syslog
clock_settime settimeofday adjtimex clock_adjtime
mbind set_mempolicy migrate_pages move_pages memfd_secret
seccomp landlock_create_ruleset shmget msgget semget mq_open
setrlimit setpriority sched_setaffinity sched_setscheduler sched_setattr ioprio_set
"""

_NO_FD = -1 & (1 << 64) - 1  # 0 would be standard input, which may be the host's /dev/null

ATTACKS: tuple[tuple[str, tuple[int, ...]], ...] = (
    *((name, ()) for name in _WITHOUT_ARGUMENTS.split()),
    ("fchmod", (_NO_FD, 0)),
    ("fchown", (_NO_FD, 0, 0)),
    *(("clone", (flag,)) for name, flag in _NEW_NAMESPACES.items() if name != "CLONE_NEWTIME"),
    *(
        ("socket", (family, 3, 0)) for family in (3, 16, 17, 38, 40, 44)
    ),  # AX25, netlink, packet, alg, vsock, xdp
    *((name, (0, 1 << 20)) for name in ("sethostname", "setdomainname")),
    ("prctl", (22, 1)),  # PR_SET_SECCOMP
    ("prctl", (35, 13, 0)),  # PR_SET_MM, PR_SET_MM_EXE_FILE
    ("prctl", (0x59616D61, -1 & (1 << 64) - 1)),  # PR_SET_PTRACER, PR_SET_PTRACER_ANY
    ("ioctl", (0, 0x5412)),  # TIOCSTI
    ("ioctl", (0, 0x541C)),  # TIOCLINUX
    ("prlimit64", (0, 7, 1)),  # with a new limit
)
"""Calls, with their first arguments, that attacks by native code need and no filter of ours allows.

None of them does anything where it is let through: an argument makes no sense, or changes nothing.
"""
