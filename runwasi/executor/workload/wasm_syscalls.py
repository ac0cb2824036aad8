"""Lists the system calls that engines make behind their filter, by filter: an engine, and what it runs.

Written by scripts/measure_syscalls.py: do not edit it, measure again. wasm_filter makes filters of it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_EVERY = """
    clone clone3 close exit_group fcntl futex gettid mmap mprotect munmap newfstatat openat rseq rt_sigaction
    rt_sigprocmask rt_sigtimedwait set_robust_list write
"""
"""Calls behind every filter."""

_MORE = {
    "wasmedge-core": """
        access brk faccessat2 fstat getdents64 readv writev
    """,
    "wasmer-core": """
        access brk epoll_create1 epoll_ctl epoll_wait eventfd2 exit getdents64 getpid getrandom getsockname ioctl
        lseek madvise mkdir prctl read readlink recvfrom renameat rmdir sched_getaffinity sched_yield sendto
        sigaltstack socketpair statx unlink unlinkat
    """,
    "wasmtime-component": """
        accept4 bind brk connect epoll_create1 epoll_ctl epoll_wait eventfd2 exit ftruncate getdents64 getpeername
        getpid getrandom getsockname getsockopt ioctl linkat listen lseek madvise mkdirat openat2 pipe2 poll prctl
        pread64 pwrite64 pwritev2 read readlinkat recvfrom renameat rt_sigreturn sendmmsg sendto setsockopt shutdown
        sigaltstack socket statx symlinkat uname unlinkat utimensat
    """,
    "wasmtime-core": """
        access clock_nanosleep fadvise64 fallocate fdatasync fsync ftruncate getdents64 getpid getrandom ioctl
        linkat lseek memfd_create mkdirat openat2 poll pread64 preadv2 pwrite64 pwritev2 readlinkat readv renameat
        rt_sigreturn sigaltstack symlinkat unlinkat utimensat writev
    """,
    "wasmtime-http": """
        accept4 bind brk connect epoll_create1 epoll_ctl epoll_wait exit getpeername getpid getrandom getsockname
        getsockopt ioctl kill listen lseek madvise openat2 pipe2 poll pread64 read recvfrom rt_sigreturn sendto
        setsockopt shutdown sigaltstack socket uname wait4
    """,
}
"""Calls behind some, by filter."""

SYSCALLS: Mapping[str, frozenset[str]] = {
    name: frozenset(f"{_EVERY}{more}".split()) for name, more in _MORE.items()
}

ARGUMENTS: Mapping[str, Mapping[str, Sequence[int]]] = {
    "wasmedge-core": {},
    "wasmer-core": {"ioctl": (21505, 21537), "prctl": (15,)},
    "wasmtime-component": {"ioctl": (21505, 21531, 21537), "prctl": (15,), "socket": (1, 2, 10)},
    "wasmtime-core": {"ioctl": (21505, 21531)},
    "wasmtime-http": {"ioctl": (21537,), "socket": (1, 2)},
}
"""For calls of many uses, the values of the argument that selects the use."""

EXECUTABLE_MEMORY: Sequence[str] = ["wasmer-core", "wasmtime-component", "wasmtime-http"]
"""The filters of those that make memory executable while they run."""
