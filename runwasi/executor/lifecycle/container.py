"""Represents an existing container: its state, and the operations on it.

Everything is in the state folder, so any process can load any container. Only its creator holds its pidfd
from the start, and can wait for its exit status.
"""

from __future__ import annotations

import os
from errno import EINVAL, EPROTOTYPE, ESRCH
from time import monotonic

from runwasi.executor.errors import ContainerError, WrongStatus
from runwasi.executor.lifecycle.early_end import ended_early
from runwasi.executor.lifecycle.status import require
from runwasi.executor.lifecycle.store import CONFIG, GATE, NATIVE, STATE, Damaged, Saved, StateFolder
from runwasi.executor.protocol import FAILED, LISTENER, PROCEED, STARTING, Channel, failure_from
from runwasi.executor.undo import Undo
from runwasi.linux import cgroups, processes, sockets
from runwasi.linux.fd import Fd
from runwasi.linux.waiting import Wait
from runwasi.oci.decode import SpecError
from runwasi.oci.spec import loads
from runwasi.oci.state import ContainerProcessState, State
from runwasi.startup.thin_signal import SIGKILL
from runwasi.startup.thin_socket import SOCK_SEQPACKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.executor.lifecycle.status import Status
    from runwasi.executor.usage.usage_records import Usage
    from runwasi.linux.cgroups import Cgroup
    from runwasi.linux.waiting import Operation
    from runwasi.oci.resources import Resources
    from runwasi.oci.spec import Spec

_PROMPTLY, _AT_LAST = 1.0, 10.0
"""Seconds in which a killed process is gone unless something is wrong, and after which it is given up."""


def _ignore(_: str) -> None:
    """Ignore a warning."""


class Container:
    """One container below a state root.

    saved   what its state.json holds
    pidfd   of its first process, once this process has created it or called open_pidfd
    tie     the channel whose end ends its first process until its program runs; None if it outlives us
    warn    called with a sentence about a problem that stops nothing, such as a failing poststop hook
    """

    def __init__(
        self,
        folder: StateFolder,
        saved: Saved,
        warn: Callable[[str], None] | None = None,
        spec: Spec | None = None,
        cgroup: Cgroup | None = None,
    ) -> None:
        self.folder = folder
        self.saved = saved
        self.pidfd: Fd | None = None
        self.tie: Channel | None = None
        self.warn = warn or _ignore
        self._spec = spec
        self._cgroup = cgroup

    @classmethod
    def load(cls, root: str, container_id: str, warn: Callable[[str], None] | None = None) -> Container:
        """Read a container's state. Raises NotFound, Damaged or ContainerError."""
        folder = StateFolder(root, container_id)
        return cls(folder, folder.load(), warn)

    @property
    def id(self) -> str:
        """Its id."""
        return self.saved.id

    @property
    def pid(self) -> int:
        """The pid of its first process, as the host numbers it; 0 before there is one."""
        return self.saved.pid

    @property
    def kind(self) -> str:
        """Wasm or native, whichever its first process runs; "-" if an older release made it."""
        return self.saved.kind or "-"

    @property
    def bundle(self) -> str:
        """The absolute path of its bundle."""
        return self.saved.bundle

    @property
    def created(self) -> str:
        """Time of creation, RFC 3339."""
        return self.saved.created

    @property
    def spec(self) -> Spec:
        """The configuration it was created with."""
        if self._spec is None:
            try:
                self._spec = loads(self.folder.config())
            except SpecError as error:
                path = f"{self.folder.path}/{CONFIG}"
                raise Damaged(f"container {self.id}: {path} is damaged: {error}") from None
        return self._spec

    @property
    def cgroup(self) -> Cgroup:
        """Its cgroup."""
        if self._cgroup is None:
            paths = dict(self.saved.cgroup_paths)
            try:
                self._cgroup = cgroups.cgroup_from(
                    paths, systemd=self.saved.systemd, rootless=self.saved.rootless
                )
            except ValueError as error:
                path = f"{self.folder.path}/{STATE}"
                raise Damaged(f"container {self.id}: {path} is damaged: {error}") from None
        return self._cgroup

    def status(self) -> Status:
        """Return its status, derived from the kernel's view, even if its creator was killed."""
        if not self.saved.pid:
            return "creating" if self._creator_lives() else "stopped"
        if not _lives(self.saved.pid, self.saved.start_time):
            return "stopped"
        if self.folder.is_being_made():
            return "creating" if self._creator_lives() else "stopped"
        if self.cgroup.frozen():
            return "paused"
        return "created" if self.folder.gate_exists() else "running"

    def _creator_lives(self) -> bool:
        return _lives(self.saved.creator_pid, self.saved.creator_start_time)

    def oci_state(self, status: Status | None = None) -> State:
        """Return the state document of runtime-spec runtime.md#state; pid is 0 once it has stopped."""
        status = status or self.status()
        return State(
            oci_version=self.spec.oci_version,
            id=self.id,
            status=status,
            pid=0 if status == "stopped" else self.saved.pid,
            bundle=self.saved.bundle,
            annotations=self.spec.annotations,
        )

    def start(self) -> Operation[None]:
        """Let its program run, and run the poststart hooks.

        It ends once the program has replaced the runtime in its process, or a module is about to run. Raises
        WrongStatus, or ContainerError when it could not be executed; it has stopped then.
        """
        require("start", self.id, self.status())
        try:
            gate = Channel(_connect_to_gate(f"{self.folder.path}/{GATE}"))
        except (BlockingIOError, ConnectionRefusedError, FileNotFoundError):
            raise WrongStatus("cannot start an already running container") from None
        undo = Undo()
        undo.add(self.folder.remove_gate)
        undo.add(self._untie)
        undo.add(gate.close)
        yield from undo.around(self._follow_start(gate))
        yield from undo.run()
        yield from self._run_poststart_hooks()

    def _follow_start(self, gate: Channel) -> Operation[None]:
        """Serve the child's last steps; after STARTING, the end of the connection means success."""
        starting = False
        while True:
            yield Wait((gate.fileno(),))
            message = gate.receive()
            if message is None:
                if self._is_under_way(starting):
                    return
                raise ended_early(self.spec)
            if message.kind == STARTING:
                starting = True
                continue
            if message.kind == FAILED:
                raise failure_from(message.fields)
            assert message.kind == LISTENER
            yield from self._forward_apart(message.fds[0])
            gate.send(PROCEED)

    def _is_under_way(self, starting: bool) -> bool:
        """Return whether the end of the connection means success.

        A child of an older release sends nothing; it has a program's memory then.
        """
        if not starting:
            return processes.has_memory(self.pid)
        return self.saved.kind != NATIVE or not processes.failed_unexecuted(self.pid)

    def _forward_apart(self, listener: int) -> Operation[None]:
        """Forward a listener from another process: its agent may be slow to receive it."""
        from runwasi.executor.parent import errands  # late: few filters notify

        try:
            yield from errands.run(
                lambda: self.forward_listener(listener), "handing a filter's listener over", kept=(listener,)
            )
        finally:
            os.close(listener)

    def forward_listener(self, listener: int) -> None:
        """Send the descriptor of a notifying seccomp filter to the agent that the configuration names.

        It may block: send it on an errand.
        """
        from runwasi.executor.process.seccomp_profile import (  # late: few filters notify
            LISTENER_NAME,
            send_listener,
        )

        profile = self.spec.linux.seccomp
        assert profile is not None  # it made the listener
        state = ContainerProcessState(
            oci_version=self.spec.oci_version,
            fds=(LISTENER_NAME,),
            pid=self.pid,
            metadata=profile.listener_metadata,
            state=self.oci_state(),
        )
        send_listener(profile.listener_path or "", state, listener)

    def _run_poststart_hooks(self) -> Operation[None]:
        """Run the poststart hooks; one that fails stops the container: runtime.md#lifecycle, step 9."""
        if self.spec.hooks.poststart:
            state = self.oci_state("running").to_json().encode()
            from runwasi.executor.lifecycle import hooks  # late: few containers have any

            try:
                yield from hooks.run_all("poststart", self.spec.hooks.poststart, state)
            except ContainerError:
                yield from self.end()
                raise

    def save(self, saved: Saved) -> None:
        """Save a change of its state."""
        self.folder.save(saved)
        self.saved = saved

    def open_pidfd(self) -> int:
        """Return the pidfd of its first process, opening it when needed. Raises WrongStatus once that is gone."""
        if self.pidfd is None:
            try:
                self.pidfd = Fd(processes.pidfd_open(self.saved.pid))
            except OSError as error:
                if error.errno not in (EINVAL, ESRCH):
                    raise
                raise WrongStatus("container not running") from None
            if not _lives(self.saved.pid, self.saved.start_time):  # the number may be another's by now
                self.close()
                raise WrongStatus("container not running")
        return self.pidfd.fileno()

    def close(self) -> None:
        """Close the pidfd, and the tie."""
        self._untie()
        if self.pidfd is not None:
            self.pidfd.close()
            self.pidfd = None

    def _untie(self) -> None:
        if self.tie is not None:
            self.tie.close()
            self.tie = None

    def kill(self, signal_number: int, *, all_processes: bool = False) -> None:
        """Send a signal to its first process, or to all of its processes. Raises WrongStatus if it has stopped.

        SIGKILL goes to all if they would survive the end of the first process. A frozen container is thawed
        after SIGKILL, which takes effect then.
        """
        status = self.status()
        if signal_number == SIGKILL and not self._has_own_pids():
            if status == "stopped" and not self.pids():
                raise WrongStatus("container not running")
            all_processes = True
        if all_processes:
            self._kill_all(signal_number)
        else:
            require("kill", self.id, status)
            try:
                processes.pidfd_send_signal(self.open_pidfd(), signal_number)
            except ProcessLookupError:
                raise WrongStatus("container not running") from None
        if status == "paused" and signal_number == SIGKILL:
            self.cgroup.thaw()

    def _has_own_pids(self) -> bool:
        return any(item.type == "pid" and not item.path for item in self.spec.linux.namespaces)

    def _kill_all(self, signal_number: int) -> None:
        if signal_number == SIGKILL and self.cgroup.paths():
            self.cgroup.kill()
            return
        for pid in self.pids():
            try:
                os.kill(pid, signal_number)
            except ProcessLookupError:
                continue

    def pause(self) -> Operation[None]:
        """Freeze all its processes. Raises WrongStatus or OSError."""
        require("pause", self.id, self.status())
        yield from self.cgroup.freeze()

    def resume(self) -> None:
        """Thaw all its processes. Raises WrongStatus or OSError."""
        require("resume", self.id, self.status())
        self.cgroup.thaw()

    def update(self, resources: Resources) -> None:
        """Change its limits to those that are given. Raises WrongStatus, SpecError or ContainerError."""
        require("update", self.id, self.status())
        from runwasi.executor.limits import cgroup_limits  # late: only to change them

        cgroup_limits.update(self.cgroup, resources)

    def pids(self) -> list[int]:
        """Return all its processes as the host numbers them.

        A rootless container may have no cgroup: then they are known by its pid namespace.
        """
        if self.cgroup.paths():
            return self.cgroup.pids()
        if not _lives(self.saved.pid, self.saved.start_time):
            return []
        if not self._has_own_pids():
            return [self.saved.pid]
        from runwasi.linux.pid_namespace import processes_beside  # late: hardly ever needed

        return processes_beside(self.saved.pid)

    def usage(self) -> Usage:
        """Return its resource usage so far, and its limits."""
        from runwasi.executor.usage.cgroup_usage import read_usage  # late: only statistics need it

        return read_usage(self.cgroup)

    def wait(self) -> int:
        """Wait for its first process and return the exit code, 128 + n when signal n ended it.

        Raises ChildProcessError in a process that did not create it.
        """
        return processes.reap(self.open_pidfd())

    def end(self) -> Operation[None]:
        """Kill all its processes and wait until the first is gone.

        Raises ContainerError when the kernel holds it.
        """
        if not self.saved.pid:
            return
        try:
            pidfd = os.dup(self.open_pidfd())  # somebody else may be waiting on the other one
        except WrongStatus:
            return
        try:
            yield from self._ended(pidfd)
        finally:
            os.close(pidfd)

    def _ended(self, pidfd: int) -> Operation[None]:
        try:
            processes.pidfd_send_signal(pidfd, SIGKILL)
        except ProcessLookupError:
            return
        self.cgroup.kill()
        self.cgroup.thaw()
        if (yield Wait((pidfd,), monotonic() + _PROMPTLY)):
            return
        # Somebody moved it to another, frozen cgroup; on version 1, even SIGKILL waits for the thaw.
        try:
            self.cgroup.enter(self.saved.pid)
        except ProcessLookupError:
            return
        if not (yield Wait((pidfd,), monotonic() + _AT_LAST)):
            raise ContainerError(f"process {self.saved.pid} was killed but does not end: the kernel holds it")


def _connect_to_gate(path: str) -> int:
    """Connect without waiting. The gate of a container that an older release created takes streams only."""
    try:
        return sockets.connect(path, SOCK_SEQPACKET, wait=False)
    except OSError as error:
        if error.errno != EPROTOTYPE:
            raise
    return sockets.connect(path, wait=False)


def _lives(pid: int, start_time: int) -> bool:
    """Return whether the process of that pid and start time runs; a zombie does not."""
    try:
        return processes.start_time(pid) == start_time and processes.process_state(pid) not in ("Z", "X")
    except ProcessLookupError:
        return False
