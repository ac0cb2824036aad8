"""The C library, loaded once: prototypes, system call numbers, and the check that turns -1 into OSError.

Every start of a container imports this module, so it does not import ctypes. It declares a prototype where the
default (every argument a C int) would truncate a pointer or a 64-bit flag word.
"""

from __future__ import annotations

import os

from runwasi.startup.thin_ctypes import CDLL, c_char_p, c_int, c_long, c_ulong, c_void_p, get_errno

_ENOSYS = 38

libc = CDLL(None, use_errno=True)
"""The process's own C library. Functions without a prototype here take C ints."""

# A variadic syscall needs c_void_p: it takes 64-bit integers, bytes, arrays and byref().
libc.syscall.argtypes = (c_long, *(c_void_p,) * 6)
libc.syscall.restype = c_long
libc.prctl.argtypes = (c_int, *(c_void_p,) * 4)
libc.mount.argtypes = (c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
libc.umount2.argtypes = (c_char_p, c_int)

# Numbers from asm-generic/unistd.h; x86_64 differs only for calls older than 2019 (asm/unistd_64.h).
_X86_64 = os.uname().machine == "x86_64"
SYS_BRK = 12 if _X86_64 else 214
SYS_CAPGET, SYS_CAPSET = (125, 126) if _X86_64 else (90, 91)
SYS_PERSONALITY = 135 if _X86_64 else 92
SYS_PIVOT_ROOT = 155 if _X86_64 else 41
SYS_SET_MEMPOLICY = 238 if _X86_64 else 237
SYS_KEYCTL = 250 if _X86_64 else 219
SYS_IOPRIO_SET = 251 if _X86_64 else 30
SYS_GETDENTS64 = 217 if _X86_64 else 61
SYS_SCHED_SETATTR = 314 if _X86_64 else 274
SYS_SECCOMP = 317 if _X86_64 else 277
SYS_BPF = 321 if _X86_64 else 280
SYS_STATX = 332 if _X86_64 else 291
SYS_PIDFD_SEND_SIGNAL = 424
SYS_OPEN_TREE = 428
SYS_MOVE_MOUNT = 429
SYS_FSOPEN = 430
SYS_FSCONFIG = 431
SYS_FSMOUNT = 432
SYS_FSPICK = 433
SYS_PIDFD_OPEN = 434
SYS_CLONE3 = 435
SYS_CLOSE_RANGE = 436
SYS_OPENAT2 = 437
SYS_MOUNT_SETATTR = 442


def check(result: int, call: str, target: object = "") -> int:
    """Return result; if it is -1, raise the OSError for errno.

    The exception keeps its subclass (FileNotFoundError ...), and has "call target" as its filename, so that its
    text names the call and its object.
    """
    if result == -1:
        raise failure(get_errno(), call, target)
    return result


def failure(errno: int, call: str, target: object = "") -> OSError:
    """Make the OSError that check raises for errno: it names the call and its object."""
    text = "this kernel has no such call" if errno == _ENOSYS else os.strerror(errno)
    return OSError(errno, text, f"{call} {target}".strip())


def syscall(number: int, *args: object) -> int:
    """Make a system call, and return its result, -1 with errno on failure: wrap it in check.

    Arguments may be integers of up to 64 bits, bytes, ctypes arrays or byref(); at most six.
    """
    result: int = libc.syscall(number, *args, *(None,) * (6 - len(args)))
    return result
