"""Defines the plan of a process: what will run, and in which surroundings. The parent makes it before the fork.

It never changes. The child reads it in its steps, and records its state in a Progress (executor/child/progress.py).
"""

from __future__ import annotations

from runwasi.engines.engine import Stdio
from runwasi.linux.fd import close_owned
from runwasi.oci.record import EMPTY, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runwasi.engines.engine import Engine
    from runwasi.executor.telemetry.timing import Timing
    from runwasi.linux.fd import Fd
    from runwasi.linux.processes import CommandLine
    from runwasi.linux.seccomp_filter import Filter
    from runwasi.oci.process import Process
    from runwasi.oci.spec import Hook, Spec

ROOT_SOURCE = -1
"""Key of the rootfs itself among the sources of mounts; the others are indices of $.mounts."""


class ProcessPlan(Record):
    """The plan of any process of a container: the first one, or one that exec adds.

    id               the container's
    process          what it becomes, as the document says; a module is confined further
    proc             the host's /proc, checked to be one: writes through it cannot be redirected by the rootfs
    load_engine      loads the engine for wasm, where the host's files are in sight
    command_line     what ps shows of it until its program does
    stdio            what become its 0, 1 and 2
    console_socket   a connected unix socket that the pty's master is sent to when process.terminal is set
    preserve_fds     how many descriptors from 3 on it inherits
    no_new_keyring   it keeps the caller's session keyring
    may_fetch_layers somebody can be asked for the layers of the image
    namespaces       kind and descriptor of each namespace that the child joins, in that order
    userns           it is in a user namespace other than ours, new or joined
    cgroup_paths     the directories of the container's cgroup, by hierarchy
    cgroup_tasks     descriptors: writing "0" to each enters that cgroup in one hierarchy
    guest_procfs     a mount of a procfs without processes that the parent keeps, to copy for a guest's view
    seccomp          the compiled filter of the spec
    start_hooks      what runs in the container right before its program
    root             the container's root, for a process that joins; the first one makes it
    keeps_root       a process that joins enters no mount namespace, so root has to become its root
    """

    id: str
    spec: Spec
    process: Process
    proc: Fd
    load_engine: Callable[[], Engine]
    command_line: CommandLine
    stdio: Stdio = Stdio()
    console_socket: int | None = None
    preserve_fds: int = 0
    no_new_keyring: bool = False
    may_fetch_layers: bool = False
    namespaces: tuple[tuple[str, int], ...] = ()
    userns: bool = False
    cgroup_paths: Mapping[str, str] = EMPTY
    cgroup_tasks: tuple[int, ...] = ()
    guest_procfs: int | None = None
    seccomp: Filter | None = None
    start_hooks: tuple[Hook, ...] = ()
    root: Fd | None = None
    keeps_root: bool = False

    def kept_fds(self) -> set[int]:
        """Return the descriptors that the child's steps need: all others are the creating process's."""
        # 0, 1 and 2 stay open until they are the process's own: no step may open a file with such a number.
        kept = {0, 1, 2, *self.stdio.fds(), self.proc.fileno(), *range(3, 3 + self.preserve_fds)}
        kept.update(fd for _, fd in self.namespaces)
        kept.update(self.cgroup_tasks)
        kept.update(fd for fd in (self.console_socket, self.guest_procfs) if fd is not None)
        if self.root is not None:
            kept.add(self.root.fileno())
        return kept

    def close(self) -> None:
        """Close the child's descriptors in the parent, after the fork."""
        close_owned((self.proc, self.root))


class InitPlan(ProcessPlan):
    """The plan of a container's first process, which makes the root and waits at the start gate.

    gate           a listening unix socket; whoever connects starts the container
    tied           the creator starts it too, and it ends with that until its program runs
    timing         notes when each step ended, None where nobody asks
    bundle_path    the bundle on the host
    rootfs         the rootfs on the host, absolute
    no_pivot       the root is changed by moving its mount
    new_netns      the network namespace is the container's own, with a loopback to bring up
    mount_sources  index of $.mounts -> a descriptor of its source that the parent opened
    """

    gate: Fd
    tied: bool = False
    timing: Timing | None = None
    bundle_path: str
    rootfs: str
    no_pivot: bool = False
    new_netns: bool = False
    mount_sources: Mapping[int, Fd]

    def kept_fds(self) -> set[int]:
        """Return the descriptors that the child's steps need."""
        return super().kept_fds() | {self.gate.fileno(), *(fd.fileno() for fd in self.mount_sources.values())}

    def close(self) -> None:
        """Close the child's descriptors in the parent, after the fork."""
        super().close()
        close_owned((self.gate, *self.mount_sources.values()))
