"""Compiles system call filters with libseccomp, and loads them into the kernel.

The library is opened only to compile a filter: programs are cached, and loading one needs only
seccomp(2). Source: man 2 seccomp; seccomp.h of libseccomp.
"""

from __future__ import annotations

import os
from errno import EINVAL, ENOENT, ENOSYS
from struct import Struct, pack

from runwasi.linux.libc import SYS_SECCOMP, check, failure, syscall
from runwasi.startup.thin_ctypes import (
    CDLL,
    addressof,
    c_char_p,
    c_int,
    c_uint,
    c_uint32,
    c_void_p,
    create_string_buffer,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    Comparison: TypeAlias = tuple[int, int, int, int]

# Actions; the low 16 bits of ERRNO and TRACE are a number. linux/seccomp.h
KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
NOTIFY = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000

# SECCOMP_FILTER_FLAG_*
FLAG_TSYNC = 1
FLAG_LOG = 2
FLAG_SPEC_ALLOW = 4
FLAG_NEW_LISTENER = 8
FLAG_TSYNC_ESRCH = 16
FLAG_WAIT_KILLABLE_RECV = 32

# enum scmp_compare
NE, LT, LE, EQ, GE, GT, MASKED_EQ = range(1, 8)

_SET_MODE_FILTER = 1
SOCK_FILTER = Struct("HBBI")  # struct sock_filter
SOCK_FPROG = Struct("HP")  # struct sock_fprog: an unsigned short, then an aligned pointer
_ATTR_CTL_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE
_BINARY_TREE = 2
_WORTH_A_TREE = 32  # libseccomp up to 2.5.4 builds wrong trees for empty filters, and a short list is as fast
_AUDIT_ARCH_X86_64 = 0xC000003E
_SCMP_ARCH_X32 = 0x4000003E
_X32_BIT = 0x40000000
_AUDIT_ARCH_ARM = 0x40000028
_ARM_PRIVATE = 0x0F0000  # __ARM_NR_BASE: cacheflush, set_tls and their like, far above the others


class Rule:
    """The action for calls of these names whose arguments all match.

    A comparison is (argument's index, operator, value, second value). MASKED_EQ compares argument & value with
    the second value.
    """

    __slots__ = ("action", "comparisons", "names")

    def __init__(self, names: Sequence[str], action: int, comparisons: Sequence[Comparison] = ()) -> None:
        self.names = names
        self.action = action
        self.comparisons = comparisons


class Filter:
    """A compiled filter: the program, and the flags to load it with."""

    __slots__ = ("flags", "program")

    def __init__(self, program: bytes, flags: int) -> None:
        self.program = program
        self.flags = flags


def load_filter(program: bytes, flags: int = 0) -> int | None:
    """Filter this thread's system calls from now on; return the listener if flags have FLAG_NEW_LISTENER.

    Without no_new_privs it needs CAP_SYS_ADMIN. Raises OSError.
    """
    code = create_string_buffer(program, len(program))
    prog = SOCK_FPROG.pack(len(program) // SOCK_FILTER.size, addressof(code))
    result = check(syscall(SYS_SECCOMP, _SET_MODE_FILTER, flags, prog), "seccomp", "SECCOMP_SET_MODE_FILTER")
    if flags & FLAG_NEW_LISTENER:
        return result
    if result > 0:
        raise OSError(EINVAL, f"thread {result} has its own filter", "seccomp SECCOMP_FILTER_FLAG_TSYNC")
    return None


def compile_filter(default_action: int, architectures: Iterable[str], rules: Sequence[Rule]) -> bytes:
    """Compile rules to a program for load_filter, for this machine's architecture and these.

    Architectures have libseccomp's names ("x86_64", "x32"). Calls that the library does not know are left out:
    no kernel that it supports has them. If the default action refuses, calls newer than all calls in the rules
    return ENOSYS instead: a program that tries a new call then falls back to an older one, but would give up
    after EPERM. Raises OSError.
    """
    library = Libseccomp()
    return library.compile(default_action, list(architectures), rules)


class Libseccomp:
    """The open libseccomp. Raises OSError (ENOENT) if it is not installed."""

    def __init__(self) -> None:
        try:
            lib = CDLL("libseccomp.so.2", use_errno=True)
        except OSError:
            why = "seccomp needs libseccomp (Debian's package libseccomp2)"
            raise OSError(ENOENT, why, "libseccomp.so.2") from None
        lib.seccomp_init.argtypes = (c_uint32,)
        lib.seccomp_init.restype = c_void_p
        lib.seccomp_release.argtypes = (c_void_p,)
        lib.seccomp_release.restype = None
        lib.seccomp_attr_set.argtypes = (c_void_p, c_int, c_uint32)
        lib.seccomp_arch_resolve_name.argtypes = (c_char_p,)
        lib.seccomp_arch_resolve_name.restype = c_uint32
        lib.seccomp_arch_native.restype = c_uint32
        lib.seccomp_arch_exist.argtypes = lib.seccomp_arch_add.argtypes = (c_void_p, c_uint32)
        lib.seccomp_syscall_resolve_name_arch.argtypes = (c_uint32, c_char_p)
        lib.seccomp_rule_add_array.argtypes = (c_void_p, c_uint32, c_int, c_uint, c_void_p)
        lib.seccomp_export_bpf.argtypes = (c_void_p, c_int)
        self._lib = lib

    def compile(self, default_action: int, architectures: list[str], rules: Sequence[Rule]) -> bytes:
        """Compile the filter; see compile_filter."""
        context = self._lib.seccomp_init(default_action)
        if not context:
            raise OSError(EINVAL, "libseccomp refuses the default action", f"{default_action:#x}")
        try:
            tokens = self._add_architectures(context, architectures)
            if sum(len(rule.names) for rule in rules) > _WORTH_A_TREE:
                self._lib.seccomp_attr_set(context, _ATTR_CTL_OPTIMIZE, _BINARY_TREE)
            for rule in rules:
                if rule.action != default_action:
                    self._add_rule(context, rule)
            program = self._export(context)
        finally:
            self._lib.seccomp_release(context)
        refuses = default_action not in (ALLOW, LOG, ERRNO | ENOSYS) and default_action & ~0xFFFF != TRACE
        return self._newer_is_unknown(tokens, rules) + program if refuses else program

    def _add_architectures(self, context: int, names: list[str]) -> list[int]:
        """Add the missing architectures, and return the tokens of all."""
        tokens = [self._lib.seccomp_arch_native()]
        for name in names:
            token = self._lib.seccomp_arch_resolve_name(name.encode())
            if not token:
                raise OSError(EINVAL, "this libseccomp does not know the architecture", name)
            if token not in tokens:
                _checked(self._lib.seccomp_arch_add(context, token), "seccomp_arch_add", name)
                tokens.append(token)
        return tokens

    def _add_rule(self, context: int, rule: Rule) -> None:
        indices = [comparison[0] for comparison in rule.comparisons]
        # libseccomp takes one comparison per argument in a rule; otherwise each comparison becomes a rule.
        together = len(set(indices)) == len(indices)
        alternatives = [rule.comparisons] if together else [(one,) for one in rule.comparisons]
        native = self._lib.seccomp_arch_native()
        for name in rule.names:
            number = self._lib.seccomp_syscall_resolve_name_arch(native, name.encode())
            if number == -1:  # __NR_SCMP_ERROR; calls of other architectures get numbers below that
                continue
            for comparisons in alternatives:
                # struct scmp_arg_cmp
                array = b"".join(pack("IiQQ", *comparison) for comparison in comparisons)
                result = self._lib.seccomp_rule_add_array(
                    context, rule.action, number, len(comparisons), array
                )
                _checked(result, "seccomp_rule_add", name)

    def _export(self, context: int) -> bytes:
        """Export the program through a file in memory: only libseccomp 2.6 has seccomp_export_bpf_mem."""
        fd = os.memfd_create("seccomp")
        try:
            _checked(self._lib.seccomp_export_bpf(context, fd), "seccomp_export_bpf")
            return os.pread(fd, os.fstat(fd).st_size, 0)
        finally:
            os.close(fd)

    def _newer_is_unknown(self, tokens: list[int], rules: Sequence[Rule]) -> bytes:
        """Make the start of a program that returns ENOSYS for calls newer than those in the rules."""
        names = {name for rule in rules for name in rule.names}
        highest = {}
        for token in tokens:
            numbers = [number for name in names if (number := self._number(token, name)) is not None]
            if token == _AUDIT_ARCH_ARM:
                numbers = [number for number in numbers if number < _ARM_PRIVATE]
            if numbers:
                highest[token] = max(numbers)
        return newer_is_unknown(highest)

    def _number(self, token: int, name: str) -> int | None:
        """Return a call's number; None if the architecture lacks it and its number is negative."""
        number = self._lib.seccomp_syscall_resolve_name_arch(token, name.encode())
        return number if number >= 0 else None


def newer_is_unknown(highest: dict[int, int]) -> bytes:
    """Assemble checks that return ENOSYS above the highest number of each architecture, otherwise continue.

    Classic BPF with struct seccomp_data: the number at offset 0, the architecture at 4. x32 shares x86_64's
    architecture and sets a bit in the number; 32-bit ARM has a few private calls far above the others.
    """
    load_arch, load_number = (0x20, 0, 0, 4), (0x20, 0, 0, 0)
    code: list[tuple[int, int, int, int]] = [load_arch]
    for token, number in highest.items():
        if token == _SCMP_ARCH_X32:
            continue
        section = [load_number]
        if token == _AUDIT_ARCH_X86_64:
            native = _refuse_above(number)
            x32 = _refuse_above(highest[_SCMP_ARCH_X32]) if _SCMP_ARCH_X32 in highest else [_TO_THE_END]
            section += [(0x45, len(native), 0, _X32_BIT), *native, *x32]  # jset: to x32's checks
        else:
            if token == _AUDIT_ARCH_ARM:
                section += [(0x35, 0, 1, _ARM_PRIVATE), _TO_THE_END]  # jge
            section += _refuse_above(number)
        code += [(0x15, 0, len(section), token), *section]  # jeq: else to the next architecture
    return b"".join(
        SOCK_FILTER.pack(op, jt, jf, len(code) - index - 1 if (op, jt, jf, k) == _TO_THE_END else k)
        for index, (op, jt, jf, k) in enumerate(code)
    )


_TO_THE_END = (0x05, 0, 0, 0)  # ja; its distance is filled in once the length is known


def _refuse_above(number: int) -> list[tuple[int, int, int, int]]:
    return [(0x25, 0, 1, number), (0x06, 0, 0, ERRNO | ENOSYS), _TO_THE_END]  # jgt; ret; ja


def _checked(result: int, call: str, target: str = "") -> None:
    """Raise OSError if a result of libseccomp is a negative errno."""
    if result < 0:
        raise failure(-result, call, target)


def library_version() -> str:
    """Return the version of the system's libseccomp, "" if there is none. Source: man 3 seccomp_version."""
    from ctypes import CDLL, POINTER, Structure, c_uint  # late: only to print a version

    class Version(Structure):
        _fields_ = [("major", c_uint), ("minor", c_uint), ("micro", c_uint)]

    try:
        library = CDLL("libseccomp.so.2")
    except OSError:
        return ""
    library.seccomp_version.restype = POINTER(Version)
    version = library.seccomp_version().contents
    return f"{version.major}.{version.minor}.{version.micro}"
