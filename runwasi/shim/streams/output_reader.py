"""Keeps a process that reads a container's output from pipes: a logger, or one that copies into a file."""

from __future__ import annotations

from runwasi.linux import processes
from runwasi.linux.fd import Fd, owner_of
from runwasi.shim.streams.outputs import PlainOutput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runwasi.linux.waiting import Operation
    from runwasi.shim.daemon.handover import Keep
    from runwasi.shim.server.reactor import Reactor, Timer

SIGTERM, SIGKILL = 15, 9

_PATIENCE = 12.0  # seconds that it may take to write its buffers after SIGTERM


class OutputReader:
    """A running process; stdout and stderr are the pipes to it."""

    def __init__(self, reactor: Reactor, stdout: Fd | None, stderr: Fd | None, pidfd: Fd | None) -> None:
        self._reactor = reactor
        self._timer: Timer | None = None
        self.stdout, self.stderr = PlainOutput(stdout), PlainOutput(stderr)
        self._pidfd = pidfd
        if pidfd is not None:
            reactor.watch(pidfd.fileno(), self._ended)

    @classmethod
    def taken_over(cls, reactor: Reactor, state: Mapping[str, int | None]) -> OutputReader:
        """Restore one of the program that we replace; others have the pipes."""
        return OutputReader(reactor, None, None, owner_of(state["pidfd"]))

    def state(self, keep: Keep) -> dict[str, int | None]:
        """Return the state from which another program continues."""
        return {"pidfd": keep(self._pidfd)}

    def ready(self) -> Operation[None]:
        """Wait until it is ready. Raises ContainerError."""
        yield from ()

    def stop(self) -> None:
        """Close the pipes and ask it to end; kill it after a while."""
        self.stdout.close()
        self.stderr.close()
        if self._pidfd is not None and self._timer is None:
            self._signal(SIGTERM)
            self._timer = self._reactor.call_later(_PATIENCE, lambda: self._signal(SIGKILL))

    def _signal(self, signal: int) -> None:
        if self._pidfd is not None:
            processes.pidfd_send_signal(self._pidfd.fileno(), signal)

    def _ended(self, _events: int) -> None:
        assert self._pidfd is not None
        with self._pidfd as pidfd:
            self._reactor.unwatch(pidfd.fileno())
            processes.reap(pidfd.fileno())
        self._pidfd = None
        if self._timer:
            self._timer.cancel()
