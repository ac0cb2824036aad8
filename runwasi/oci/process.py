"""The `process` part of config.json, which is also the document that `exec --process` takes.

Source: runtime-spec config.md#process.
"""

from __future__ import annotations

from runwasi.oci.decode import SpecError, decode_document, quoted, read_document
from runwasi.oci.record import AbsolutePath, Id, Int32, Record, Uint32, Uint64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Annotated, ClassVar, Literal, TypeAlias

RlimitType: TypeAlias = (
    "Literal['RLIMIT_AS', 'RLIMIT_CORE', 'RLIMIT_CPU', 'RLIMIT_DATA', 'RLIMIT_FSIZE', 'RLIMIT_LOCKS', "
    "'RLIMIT_MEMLOCK', 'RLIMIT_MSGQUEUE', 'RLIMIT_NICE', 'RLIMIT_NOFILE', 'RLIMIT_NPROC', 'RLIMIT_RSS', "
    "'RLIMIT_RTPRIO', 'RLIMIT_RTTIME', 'RLIMIT_SIGPENDING', 'RLIMIT_STACK']"
)
SchedulerPolicy: TypeAlias = (
    "Literal['SCHED_OTHER', 'SCHED_FIFO', 'SCHED_RR', 'SCHED_BATCH', 'SCHED_ISO', 'SCHED_IDLE', "
    "'SCHED_DEADLINE']"
)
SchedulerFlag: TypeAlias = (
    "Literal['SCHED_FLAG_RESET_ON_FORK', 'SCHED_FLAG_RECLAIM', 'SCHED_FLAG_DL_OVERRUN', "
    "'SCHED_FLAG_KEEP_POLICY', 'SCHED_FLAG_KEEP_PARAMS', "
    "'SCHED_FLAG_UTIL_CLAMP_MIN', 'SCHED_FLAG_UTIL_CLAMP_MAX']"
)
IoPriorityClass: TypeAlias = "Literal['IOPRIO_CLASS_RT', 'IOPRIO_CLASS_BE', 'IOPRIO_CLASS_IDLE']"
IoPriorityLevel: TypeAlias = "Annotated[int, 0, 7]"  # man 2 ioprio_set
OomScoreAdj: TypeAlias = "Annotated[int, -1000, 1000]"  # man 5 proc_pid_oom_score_adj


_LEAST_RUNTIME = 1024  # ns; man 2 sched_setattr


class Box(Record):
    """The size of a terminal in characters."""

    height: Uint64
    width: Uint64


class User(Record):
    """The process's ids in the container's user namespace; `umask` None keeps the runtime's default."""

    uid: Id = 0
    gid: Id = 0
    umask: Uint32 | None = None
    additional_gids: tuple[Id, ...] = ()
    username: str | None = None


class Capabilities(Record):
    """Capability names by set; config.md#process requires a warning, not an error, for unknown ones."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(Record):
    """One resource limit; 2^64-1 is RLIM_INFINITY."""

    type: RlimitType
    soft: Uint64
    hard: Uint64

    def check(self) -> None:
        """Refuse limits that setrlimit(2) always refuses."""
        if self.soft > self.hard:
            raise SpecError(".soft", f"must not be above the hard limit {self.hard}")


class Scheduler(Record):
    """CPU scheduling attributes as for sched_setattr(2); times in nanoseconds."""

    policy: SchedulerPolicy
    nice: Int32 = 0
    priority: Int32 = 0
    flags: tuple[SchedulerFlag, ...] = ()
    runtime: Uint64 = 0
    deadline: Uint64 = 0
    period: Uint64 = 0

    def check(self) -> None:
        """Refuse attributes that do not belong to the policy: man 2 sched_setattr."""
        if not -20 <= self.nice <= 19:
            raise SpecError(".nice", f"must be between -20 and 19, not {self.nice}")
        real_time = self.policy in {"SCHED_FIFO", "SCHED_RR"}
        if real_time and not 1 <= self.priority <= 99:
            raise SpecError(".priority", f"must be between 1 and 99 for {self.policy}, not {self.priority}")
        if self.priority and not real_time:
            raise SpecError(".priority", f"has no meaning for {self.policy}")
        if self.policy == "SCHED_DEADLINE":
            self._check_deadline()
            return
        for name in ("runtime", "deadline", "period"):
            if getattr(self, name):
                raise SpecError(f".{name}", f"has no meaning for {self.policy}")

    def _check_deadline(self) -> None:
        if self.runtime < _LEAST_RUNTIME:
            raise SpecError(".runtime", f"must be at least {_LEAST_RUNTIME} ns, not {self.runtime}")
        if self.deadline < self.runtime:
            raise SpecError(".deadline", f"must not be below the runtime, {self.runtime} ns")
        if self.period and self.period < self.deadline:  # 0 means the deadline
            raise SpecError(".period", f"must not be below the deadline, {self.deadline} ns")


class IoPriority(Record):
    """I/O scheduling class and level: man 2 ioprio_set."""

    json_names: ClassVar[Mapping[str, str]] = {"class_": "class"}

    class_: IoPriorityClass
    priority: IoPriorityLevel = 0


class CpuAffinity(Record):
    """CPUs of an exec'd process before and after it enters the container's cgroup, as lists like `0-3,7`."""

    initial: str | None = None
    final: str | None = None

    def check(self) -> None:
        """Refuse lists that name no CPUs."""
        for name in ("initial", "final"):
            listed = getattr(self, name)
            if listed:
                check_number_list(f".{name}", listed)


class Process(Record):
    """The program of a container, or one that joins it."""

    cwd: AbsolutePath
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: Box | None = None
    user: User = User()
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str | None = None
    selinux_label: str | None = None
    oom_score_adj: OomScoreAdj | None = None
    scheduler: Scheduler | None = None
    io_priority: IoPriority | None = None
    exec_cpu_affinity: CpuAffinity | None = None

    def check(self) -> None:
        """Refuse a process without a program, a malformed environment, and a limit given twice."""
        if not self.args:
            raise SpecError(".args", "must name a program")
        if not self.args[0]:
            raise SpecError(".args[0]", "must not be empty")
        for index, entry in enumerate(self.env):
            if entry.find("=") < 1:
                raise SpecError(f".env[{index}]", f"must be NAME=VALUE, not {quoted(entry)}")
        check_unique(".rlimits", "type", [limit.type for limit in self.rlimits])


def load_process(path: str) -> Process:
    """Read the file of `exec --process`. Raises OSError or SpecError."""
    return decode_document(Process, read_document(path), path)


def check_unique(path: str, member: str, values: list[str]) -> None:
    """Raise SpecError at the first duplicate of `values`, a member of the items of the array at `path`."""
    if len(set(values)) != len(values):
        index = next(i for i, value in enumerate(values) if value in values[:i])
        raise SpecError(f"{path}[{index}].{member}", f"{values[index]} is given twice")


def check_number_list(path: str, listed: str) -> None:
    """Raise SpecError unless `listed` has the kernel's list format, such as `0-3,7`: man 7 cpuset."""
    for part in listed.split(","):
        first, dash, last = part.strip().partition("-")
        numbers = (first, last) if dash else (first,)
        if not all(number.isascii() and number.isdigit() and len(number) < 8 for number in numbers):
            raise SpecError(path, f"must be a list like 0-3,7, not {quoted(listed)}")
        if dash and int(first) > int(last):
            raise SpecError(path, f"has a range that ends before it begins: {quoted(part.strip())}")
