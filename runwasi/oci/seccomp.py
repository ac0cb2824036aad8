"""The `linux.seccomp` part of config.json. Source: runtime-spec config-linux.md#seccomp."""

from __future__ import annotations

from runwasi.oci.decode import SpecError
from runwasi.oci.record import AbsolutePath, Record, Uint16, Uint64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Annotated, Literal, TypeAlias

SeccompAction: TypeAlias = (
    "Literal['SCMP_ACT_KILL', 'SCMP_ACT_KILL_PROCESS', 'SCMP_ACT_KILL_THREAD', 'SCMP_ACT_TRAP', "
    "'SCMP_ACT_ERRNO', 'SCMP_ACT_TRACE', 'SCMP_ACT_ALLOW', 'SCMP_ACT_LOG', 'SCMP_ACT_NOTIFY']"
)
SeccompArch: TypeAlias = (
    "Literal['SCMP_ARCH_X86', 'SCMP_ARCH_X86_64', 'SCMP_ARCH_X32', 'SCMP_ARCH_ARM', 'SCMP_ARCH_AARCH64', "
    "'SCMP_ARCH_LOONGARCH64', 'SCMP_ARCH_M68K', 'SCMP_ARCH_MIPS', 'SCMP_ARCH_MIPS64', 'SCMP_ARCH_MIPS64N32', "
    "'SCMP_ARCH_MIPSEL', 'SCMP_ARCH_MIPSEL64', 'SCMP_ARCH_MIPSEL64N32', 'SCMP_ARCH_PPC', 'SCMP_ARCH_PPC64', "
    "'SCMP_ARCH_PPC64LE', 'SCMP_ARCH_S390', 'SCMP_ARCH_S390X', 'SCMP_ARCH_SH', 'SCMP_ARCH_SHEB', "
    "'SCMP_ARCH_PARISC', 'SCMP_ARCH_PARISC64', 'SCMP_ARCH_RISCV64']"
)
SeccompFlag: TypeAlias = (
    "Literal['SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_LOG', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW', "
    "'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV']"
)
SeccompOperator: TypeAlias = (
    "Literal['SCMP_CMP_NE', 'SCMP_CMP_LT', 'SCMP_CMP_LE', 'SCMP_CMP_EQ', 'SCMP_CMP_GE', 'SCMP_CMP_GT', "
    "'SCMP_CMP_MASKED_EQ']"
)
ArgumentIndex: TypeAlias = "Annotated[int, 0, 5]"  # a system call has six arguments

_ERRNO_ACTIONS = frozenset({"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"})


class SyscallArg(Record):
    """A comparison of one argument; for SCMP_CMP_MASKED_EQ `value` is the mask and `value_two` the result."""

    index: ArgumentIndex
    value: Uint64
    value_two: Uint64 = 0
    op: SeccompOperator


class Syscall(Record):
    """One rule: the action for calls of these names whose arguments all match."""

    names: tuple[str, ...]
    action: SeccompAction
    errno_ret: Uint16 | None = None
    args: tuple[SyscallArg, ...] = ()

    def check(self) -> None:
        """Refuse an errno for an action that returns none. Allow a rule without calls, as runc and crun do."""
        if self.errno_ret is not None and self.action not in _ERRNO_ACTIONS:
            raise SpecError(".errnoRet", f"cannot be used with {self.action}")

    def notifies(self) -> bool:
        """Return whether a rule makes the kernel notify an agent."""
        return self.action == "SCMP_ACT_NOTIFY" and bool(self.names)


class Seccomp(Record):
    """A system call filter. A rule's errno is EPERM if its `errno_ret` is None.

    `flags` None leaves them to the runtime; an empty array means none.
    """

    default_action: SeccompAction
    default_errno_ret: Uint16 | None = None
    architectures: tuple[SeccompArch, ...] = ()
    flags: tuple[SeccompFlag, ...] | None = None
    listener_path: AbsolutePath | None = None
    listener_metadata: str | None = None
    syscalls: tuple[Syscall, ...] = ()

    def check(self) -> None:
        """Refuse a default errno that is never returned, and notifications without a listener."""
        if self.default_errno_ret is not None and self.default_action not in _ERRNO_ACTIONS:
            raise SpecError(".defaultErrnoRet", f"cannot be used with {self.default_action}")
        if self.default_action == "SCMP_ACT_NOTIFY":
            raise SpecError(
                ".defaultAction", "cannot be SCMP_ACT_NOTIFY: the runtime itself would wait for an answer"
            )
        if self.listener_metadata and not self.listener_path:
            raise SpecError(".listenerMetadata", "needs listenerPath")
        if not self.listener_path:
            for index, rule in enumerate(self.syscalls):
                if rule.notifies():
                    raise SpecError(
                        f".syscalls[{index}].action", "cannot be SCMP_ACT_NOTIFY without listenerPath"
                    )
