"""The interface of all kinds of cgroups, whichever version the kernel has and whoever manages the tree."""

from __future__ import annotations

from runwasi.linux.fd import close_owned

TYPE_CHECKING = False


class Doors:
    """Descriptors that lead a new process into a cgroup; owned until close.

    unified  the cgroup of version 2, if any, for clone3's CLONE_INTO_CGROUP
    tasks    files to which the child's only thread writes "0"
    shut     the kernel did not let the child in, so it has to be moved
    """

    __slots__ = ("shut", "tasks", "unified")

    def __init__(self, unified: Fd | None = None, tasks: tuple[Fd, ...] = ()) -> None:
        self.unified = unified
        self.tasks = tasks
        self.shut = False

    def close(self) -> None:
        """Close the descriptors."""
        close_owned((self.unified, *self.tasks))
        self.unified, self.tasks = None, ()


if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from runwasi.linux.cgroups.device_rules import DeviceRule
    from runwasi.linux.cgroups.units import Property
    from runwasi.linux.fd import Fd
    from runwasi.linux.waiting import Operation

    class OomWatch(Protocol):
        """A descriptor that becomes readable when the kernel kills a process because memory ran out."""

        def fileno(self) -> int:
            """Return the descriptor to wait on for reading."""

        def killed(self) -> bool:
            """Read the descriptor; return whether there was an out-of-memory kill."""

        def state(self) -> tuple[Fd, int]:
            """Return the descriptor and the count that a program that replaces this one needs."""

        def close(self) -> None:
            """Stop watching."""

    class Cgroup(Protocol):
        """One cgroup: a directory in each hierarchy on v1, a single one on v2. Methods raise OSError.

        With a unit, enter, set_properties and remove wait for systemd: a server leaves them to another process.
        """

        @property
        def version(self) -> int:
            """The version, 1 or 2: it determines the names and formats of the files of write and read."""

        @property
        def unit(self) -> str:
            """The systemd unit of the cgroup; "" if systemd does not manage it."""

        def create(self) -> None:
            """Make the directories and the missing ones above them. Existing ones are used."""

        def has(self, controller: str) -> bool:
            """Return whether limits of this controller can be set here."""

        def enter(self, pid: int, beside: int = 0) -> None:
            """Move a process (0: the caller) into the cgroup.

            If the cgroup itself cannot hold processes because a child of it does, as when an init inside
            made a subtree, use the cgroup of the process beside instead.
            """

        def was_entered(self) -> None:
            """Note that a fork of this process called enter(), so that whatever that makes exists now."""

        def doors(self) -> Doors | None:
            """Open descriptors that let a forked process in; return None if only enter works.

            Moving another process makes the kernel wait for all CPUs, about ten milliseconds on an idle host.
            A process that is born inside (v2), or moves itself while it has one thread (v1), does not.
            """

        def below(self, path: str, controllers: Iterable[str] = ()) -> Cgroup:
            """Return the descendant at a relative path; on v1 for these controllers only, if any."""

        def write(self, controller: str, file: str, value: str) -> None:
            """Write a value to one of the controller's files, "cpu.max" for example."""

        def read(self, controller: str, file: str) -> str:
            """Read one of the controller's files."""

        def set_devices(self, rules: Iterable[DeviceRule]) -> None:
            """Replace the device rules: refuse everything that the rules, in order, do not allow."""

        def set_properties(self, properties: Iterable[Property]) -> None:
            """Pass limits on to systemd, which would otherwise reset the files."""

        def pids(self) -> list[int]:
            """Return the processes in this cgroup and below."""

        def freeze(self) -> Operation[None]:
            """Stop all processes, and wait until they are stopped. If one does not stop in time, thaw all."""

        def thaw(self) -> None:
            """Let frozen processes continue. A removed cgroup has none: systemd removes empty ones."""

        def frozen(self) -> bool:
            """Return whether the cgroup is frozen or freezing."""

        def kill(self) -> None:
            """Send SIGKILL to every process, including ones forked meanwhile. Does not wait."""

        def remove(self) -> Operation[None]:
            """Remove the cgroup and those below it, waiting for dying processes; it may be gone already."""

        def paths(self) -> dict[str, str]:
            """Return the directories by controller; "" is the v2 hierarchy."""

        def watch_oom(self, handed_over: tuple[Fd, int] | None = None) -> OomWatch:
            """Watch for out-of-memory kills, or continue a watch from its state. The caller closes it."""
