"""Represents a task, containerd's word for a created container, and reports its processes' exits in order.

The init is reported as the last process to exit. The executor handles the container itself.
"""

from __future__ import annotations

from select import EPOLLET

from runwasi.executor.errors import WrongStatus, describe
from runwasi.executor.lifecycle.container import Container
from runwasi.executor.telemetry import metric_events
from runwasi.linux import processes
from runwasi.linux.fd import Fd, owner_of
from runwasi.shim.server.reactor import READABLE
from runwasi.shim.services.tasks.task_process import TaskProcess
from runwasi.wire.messages.events import TaskExit, TaskOOM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runwasi.executor.criu.restore import Restoration
    from runwasi.linux.cgroups import OomWatch
    from runwasi.linux.waiting import Operation
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.call import Call
    from runwasi.shim.server.reactor import Reactor
    from runwasi.wire.codec import Message

_KILLED = 128 + 9
_ENDED = READABLE | EPOLLET
"""Told once of a process's end, and again when whoever traced it lets go: until then it cannot be reaped."""


class Task:
    """A container with its init and its execs; publish sends an event to containerd."""

    def __init__(
        self,
        reactor: Reactor,
        container: Container,
        init: TaskProcess,
        publish: Callable[[Message], None],
        *,
        mounted: bool = False,
        restoration: Restoration | None = None,
    ) -> None:
        self.restoration = restoration
        """The restoration that Start must run first: the container comes from a checkpoint and has no process yet."""
        self.mounted = mounted
        """Create mounted something on the bundle's rootfs."""
        self.deletes: list[Call] = []
        """The Delete calls that wait for its removal; the first began it."""
        self.pausing = False
        self._reactor = reactor
        self._publish = publish
        self.container = container
        self.init = init
        self.execs: dict[str, TaskProcess] = {}
        self._init_status: int | None = None
        self._oom: OomWatch | None = None
        self._over: Callable[[], None] | None = None
        if restoration is None:
            self._follow()

    @classmethod
    def taken_over(
        cls,
        reactor: Reactor,
        state: Mapping[str, Any],
        publish: Callable[[Message], None],
        warn: Callable[[str], None],
        environment: Mapping[str, str],
    ) -> Task:
        """Restore a task of the program that we replace. Raises ContainerError, OSError."""
        task = cls.__new__(cls)
        task.restoration = None
        task._reactor = reactor
        task._publish = publish
        task._over = None
        task.mounted = state.get("mounted", True)
        task.deletes = []
        task.pausing = False
        task.container = Container.load(state["root"], state["id"], warn)
        task.init = TaskProcess.taken_over(reactor, state["init"], environment)
        task._init_status = state["init_status"]
        if not task.init_exited:
            task.container.pidfd = owner_of(state["init_fd"])
            task._watch_init()
        task._oom = None
        if state["oom"]:
            task._oom = task.container.cgroup.watch_oom((Fd(state["oom"][0]), state["oom"][1]))
            reactor.watch(task._oom.fileno(), task._oom_told)
        task.execs = {}
        for kept in state["execs"]:
            execution = TaskProcess.taken_over(reactor, kept, environment)
            task.execs[execution.exec_id] = execution
            if execution.pidfd is not None:
                task.exec_started(execution, execution.pid, execution.pidfd)
        return task

    def state(self, keep: Keep) -> dict[str, Any]:
        """Return the state from which another program continues."""
        oom = self._oom.state() if self._oom else None
        return {
            "root": self.container.folder.root,
            "id": self.id,
            "mounted": self.mounted,
            "init": self.init.state_kept(keep),
            "init_fd": None if self.init_exited else keep(self.container.pidfd),
            "init_status": self._init_status,
            "oom": (keep(oom[0]), oom[1]) if oom else None,
            "execs": [execution.state_kept(keep) for execution in self.execs.values()],
        }

    @property
    def id(self) -> str:
        """The container's id."""
        return self.container.id

    @property
    def init_exited(self) -> bool:
        """Return whether the init has ended, even if clients do not know yet."""
        return self._init_status is not None

    def exec_started(self, exec_process: TaskProcess, pid: int, pidfd: Fd) -> None:
        """Follow an exec that has been started."""
        exec_process.state = "running"
        exec_process.pid, exec_process.pidfd = pid, pidfd
        self._reactor.watch(pidfd.fileno(), lambda _events: self._exec_exited(exec_process), _ENDED)

    def require_process(self, operation: str) -> None:
        """Raise WrongStatus if the container has no process yet."""
        if self.restoration is not None:
            raise WrongStatus(f"cannot {operation} a container that is restored by its start")

    def restored(self) -> None:
        """Follow the init that was restored from a checkpoint."""
        self.restoration = None
        before = self.container
        self.container = Container.load(before.folder.root, before.id, before.warn)
        self.container.pidfd = Fd(processes.pidfd_open(self.container.pid))
        self._follow()

    def start_over(self, process: TaskProcess) -> None:
        """Note that a Start has ended, with or without an error, and report exits that had to wait for that."""
        process.starting = process.execution = None
        if self.init_exited:
            self._report_when_last()

    def end_unstarted(self) -> Operation[None]:
        """Kill an init that was never started, and report its exit. Raises ContainerError if it does not end."""
        self.init.give_up_start(f"container {self.id} is deleted")
        yield from self.container.end()
        self._init_exited(0)
        if not self.init_exited:  # it is traced: its tracer must reap it first
            self._init_gone(_KILLED)
        if self.init.state != "stopped":  # its Start, which was given up, may still be ending a hook
            self._report_init()

    def when_over(self, done: Callable[[], None]) -> None:
        """Call done once the container's end has been reported."""
        if self.init.state == "stopped" or self.restoration is not None:
            done()
        else:
            self._over = done

    def forget(self) -> None:
        """Close all that is open for it, also of processes that run."""
        for process in self.execs.values():
            if process.pidfd is not None:
                self._reactor.unwatch(process.pidfd.fileno())
                process.pidfd.close()
        if not self.init_exited:
            self._reactor.unwatch(self._init_fd)
        self.container.close()
        self.close()

    def close(self) -> None:
        """Stop watching."""
        self._stop_oom_watch()
        self.init.close()
        for exec_process in self.execs.values():
            exec_process.close()

    def _follow(self) -> None:
        self.init.pid = self.container.pid
        self._watch_init()
        self._watch_oom()

    # exits

    def _watch_init(self) -> None:
        self._init_fd = self.container.open_pidfd()
        self._reactor.watch(self._init_fd, self._init_exited, _ENDED)

    def _exec_exited(self, exec_process: TaskProcess) -> None:
        fd = exec_process.pidfd
        assert fd is not None
        status = processes.reap_if_ended(fd.fileno())
        if status is None:
            return
        self._reactor.unwatch(fd.fileno())
        exec_process.pidfd = None
        fd.close()
        exec_process.ended(status)
        self._publish_exit(exec_process.exec_id, exec_process)
        if self.init_exited:
            self._report_when_last()

    def _init_exited(self, _events: int) -> None:
        if self.init_exited:
            return
        status = processes.reap_if_ended(self._init_fd)
        if status is not None:
            self._init_gone(status)

    def _init_gone(self, status: int) -> None:
        self._reactor.unwatch(self._init_fd)
        self._init_status = status
        try:
            self._end_the_rest()
        except OSError as error:  # somebody removed its cgroup; report the exit all the same
            self.container.warn(f"processes of {self.id} that its first one left: {describe(error)}")
        for exec_process in list(self.execs.values()):
            exec_process.give_up_start(f"container {self.id} init process is not running")
        self._report_when_last()

    def _end_the_rest(self) -> None:
        """Kill the processes that survive the init: frozen ones, and those in a shared pid namespace."""
        if self.init.state == "paused" or self.pausing:
            self.container.cgroup.thaw()
        if not self._own_pid_namespace():
            self.container.cgroup.kill()

    def _report_when_last(self) -> None:
        """Report the init's exit, unless its own start or an exec must be reported first."""
        if self.init.state != "stopped" and self.init.starting is None and not self._running_execs():
            self._report_init()

    def _report_init(self) -> None:
        assert self._init_status is not None
        self._oom_told(0)
        self._stop_oom_watch()
        self.init.ended(self._init_status)
        metric_events.report("exit", self.container.kind, self._init_status)
        self._publish_exit(self.id, self.init)
        if self._over is not None:
            self._over()

    def _publish_exit(self, process_id: str, process: TaskProcess) -> None:
        self._publish(
            TaskExit(
                container_id=self.id,
                id=process_id,
                pid=process.pid,
                exit_status=process.exit_status,
                exited_at=process.exited_at,
            )
        )

    def _running_execs(self) -> bool:
        return any(
            exec_process.pidfd is not None or exec_process.starting for exec_process in self.execs.values()
        )

    def _own_pid_namespace(self) -> bool:
        """Return whether the kernel ends all its processes with its init (man 7 pid_namespaces)."""
        namespaces = self.container.spec.linux.namespaces
        return any(namespace.type == "pid" and not namespace.path for namespace in namespaces)

    # out of memory

    def _watch_oom(self) -> None:
        try:
            self._oom = self.container.cgroup.watch_oom()
        except OSError:
            return  # no memory controller: memory is not limited either
        self._reactor.watch(self._oom.fileno(), self._oom_told)

    def _oom_told(self, _events: int) -> None:
        if self._oom is not None and self._oom.killed():
            self._publish(TaskOOM(container_id=self.id))

    def _stop_oom_watch(self) -> None:
        oom, self._oom = self._oom, None
        if oom is not None:
            self._reactor.unwatch(oom.fileno())
            oom.close()
