"""Makes a procfs that shows no processes.

A process may always open its own memory in a procfs, even if it is not dumpable, whatever its user and
capabilities (same_thread_group in fs/proc and kernel/ptrace.c), and by the number of any of its threads. Only the
procfs of another pid namespace does not show it. So we make that of a namespace whose only process opens it and
ends: everything else (cpuinfo, meminfo, sys ...) is there as usual, and "self" leads nowhere.
"""

from __future__ import annotations

import os
from errno import ENOSYS
from struct import pack_into

from runwasi.linux.libc import SYS_FSOPEN, check, libc
from runwasi.linux.mount_fds import (
    FSOPEN_CLOEXEC,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    mount_from,
    open_tree,
)
from runwasi.linux.namespaces import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, setns, unshare
from runwasi.linux.processes import CLONE_FILES, CLONE_VFORK, CLONE_VM, fork_into, reap
from runwasi.startup.thin_ctypes import (
    addressof,
    c_int,
    c_long,
    c_ulong,
    c_void_p,
    create_string_buffer,
)
from runwasi.startup.thin_signal import (
    SIG_BLOCK,
    SIG_SETMASK,
    pthread_sigmask,
    valid_signals,
)

_WALL = 0x40000000  # linux/wait.h: wait for a child that ends without SIGCHLD too
_STACK = 4 << 10
_CONTEXT = 5 << 10  # ucontext_t takes 968 bytes on x86_64, 4560 on aarch64
_LINK, _STACK_BASE, _STACK_SIZE = 8, 16, 32  # offsets in it: uc_link, uc_stack.ss_sp, uc_stack.ss_size


def processless_procfs() -> int:
    """Make a detached mount of a procfs without processes, and return its O_PATH descriptor.

    Needs CAP_SYS_ADMIN in our user namespace and, unless that is the host's, a fully visible procfs in our mount
    namespace (mount_too_revealing in fs/namespace.c). Raises OSError.
    """
    attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    return mount_from(_open_in_new_namespace(), "proc", "proc", (), attributes)


def procfs_to_copy() -> int | None:
    """Make a procfs to keep and copy, which takes a tenth of the time; return None if that is impossible.

    Before Linux 6.15 only attached mounts can be copied.
    """
    try:
        kept = processless_procfs()
    except OSError:
        return None
    try:
        os.close(open_tree("", kept))
    except OSError:
        os.close(kept)
        return None
    return kept


def processless_procfs_by_way_of(userns: int) -> int:
    """Call processless_procfs in the user namespace userns, where we may have the privileges.

    Raises OSError.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    child = fork_into(CLONE_FILES)  # the descriptors that it opens are open here
    if child is None:
        try:
            setns(userns, CLONE_NEWUSER)
            unshare(CLONE_NEWNS)  # a copy of our mounts that the user namespace owns
            said = str(processless_procfs())
        except OSError as error:
            said = str(-(error.errno or ENOSYS))
        os.write(write_end, said.encode())
        os._exit(0)
    try:
        reap(child.pidfd)
        os.close(write_end)
        number = int(os.read(read_end, 16) or -ENOSYS)
    finally:
        os.close(child.pidfd)
        os.close(read_end)
    if number < 0:
        raise OSError(-number, os.strerror(-number), "procfs of a user namespace")
    return number


def _open_in_new_namespace() -> int:
    """Return the context of a procfs (man 2 fsopen) that a process in its own pid namespace has opened.

    Forking an interpreter for this single system call would take over a millisecond. So the process shares our
    memory and descriptors, as after vfork, and runs only the C library, on its own stack: setcontext(3) jumps to
    syscall(2), and that returns to _exit(2). No Python runs in it, so it must not get a signal either. It takes a
    tenth of a millisecond.
    """
    if not _CALLS:
        raise OSError(ENOSYS, os.strerror(ENOSYS), "setcontext")
    before = pthread_sigmask(SIG_BLOCK, valid_signals())
    try:
        opened = os.open("/", os.O_PATH | os.O_CLOEXEC)  # it will get the lowest free number
        os.close(opened)
        _run_beside_us(SYS_FSOPEN, addressof(_PROC), FSOPEN_CLOEXEC)
    finally:
        pthread_sigmask(SIG_SETMASK, before)
    return opened


def _run_beside_us(call: int, argument: int, flags: int) -> None:
    """Make a system call in a process that shares our memory, in a new pid namespace; the caller has one thread."""
    setcontext, syscall, end = _CALLS
    memory = create_string_buffer(3 * _STACK + 2 * _CONTEXT + 16)
    base = addressof(memory)
    first = (base + 15) & ~15  # stacks are aligned to 16 bytes
    last = first + _CONTEXT
    stack = last + _CONTEXT
    for context, link, own in ((first, last, stack), (last, 0, stack + _STACK)):
        check(libc.getcontext(context), "getcontext")
        pack_into("=2Q", memory, context - base + _LINK, link, own)
        pack_into("=Q", memory, context - base + _STACK_SIZE, _STACK)
    libc.makecontext(first, syscall, 3, call, argument, flags)
    libc.makecontext(last, end, 1, 0, 0, 0)
    new = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_NEWPID
    pid = check(libc.clone(setcontext, stack + 3 * _STACK, new, first), "clone", "in a new pid namespace")
    os.waitpid(pid, _WALL)


def _declare() -> tuple[int, ...]:
    """Declare the C library's functions, and return the addresses of those that the process calls.

    Returns nothing if it is not the GNU C library.
    """
    try:
        libc.getcontext.argtypes = (c_void_p,)
        libc.makecontext.argtypes = (c_void_p, c_void_p, c_int, c_long, c_void_p, c_ulong)
        libc.makecontext.restype = None
        libc.clone.argtypes = (c_void_p, c_void_p, c_int, c_void_p)
        called = libc.setcontext, libc.syscall, libc._exit
    except AttributeError:
        return ()
    return tuple(c_void_p.from_address(addressof(function)).value or 0 for function in called)


_CALLS = _declare()
_PROC = create_string_buffer(b"proc")
