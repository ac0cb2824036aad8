"""Forks the daemon: for the server of a pod, or for one call with everything that its client sent.

First the child becomes like one of the client's own: session, environment, folder, and the properties in
callers.py. It has the client's connection and answers itself; if it dies, the client finds the connection closed
and goes on without the daemon.
"""

from __future__ import annotations

import gc
import os

from runwasi.linux import processes
from runwasi.shim import bootstrap, pod_socket
from runwasi.shim.bootstrap import Bootstrap
from runwasi.shim.client import launcher, packet
from runwasi.shim.server import pod_server, spawn
from runwasi.startup import installation, thin_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from runwasi.engines.engine import Engine
    from runwasi.linux.processes import Child
    from runwasi.shim.daemon.callers import Inheritance
    from runwasi.shim.daemon.calls import Caller
    from runwasi.shim.flags import Flags
    from runwasi.shim.server.log import Log

_STDERR = 2


class Forks:
    """Makes the forks."""

    def __init__(self, engine: Engine, own: Inheritance, log: Log) -> None:
        self._engine = engine
        self._own = own
        self._log = log

    def serve(self, caller: Caller, inherited: Inheritance, flags: Flags, asked: Bootstrap) -> Child:
        """Fork the server of a `start`'s pod. Raises OSError."""
        return self._fork(caller, inherited, lambda: self._become_server(caller, flags, asked))

    def carry_out(self, caller: Caller, inherited: Inheritance, *, shared: bool) -> Child:
        """Fork a process that does the launcher's work. Raises OSError."""
        return self._fork(caller, inherited, lambda: self._run(caller, shared))

    def _fork(self, caller: Caller, inherited: Inheritance, work: Callable[[], None]) -> Child:
        child = processes.fork_into()
        if child is None:
            self._work(caller, inherited, work)
        caller.close()
        return child

    def _work(self, caller: Caller, inherited: Inheritance, work: Callable[[], None]) -> NoReturn:
        try:
            _become_child_of(caller, inherited, self._own)
            work()
        except BaseException as error:  # noqa: BLE001  the child must never return into the daemon's code
            if not launcher.is_expected(error):
                self._log.fault(caller.call.program, error)
            caller.answer(1, errors=launcher.complaint(caller.call.program, error))
        finally:
            os._exit(0)

    def _run(self, caller: Caller, shared: bool) -> None:
        call = caller.call
        processes.close_fds_except({0, 1, _STDERR, caller.fileno(), *installation.held()})
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        for fd in (1, _STDERR):
            os.dup2(os.memfd_create("output"), fd)
        status = launcher.run(call.program, list(call.arguments), self._engine, shared)
        caller.answer(status, *(os.pread(fd, packet.MAX_BODY, 0) for fd in (1, _STDERR)))

    def _become_server(self, caller: Caller, flags: Flags, asked: Bootstrap) -> None:
        asked.complete(flags, os.getcwd(), caller.call.environment)
        listener = pod_socket.listen_or_find(flags.socket)
        try:
            if listener is not None and flags.shim_cgroup:
                spawn.join_cgroup(flags.shim_cgroup)
            bootstrap.write_address_file(flags.bundle, bootstrap.location(flags))
        except BaseException:
            bootstrap.take_back(flags, listener)
            raise
        if listener is not None:
            # containerd waits until stdout and stderr are closed by everybody
            kept = {0, 1, _STDERR, listener, caller.fileno(), *installation.held()}
            processes.close_fds_except(kept)
            spawn.arrange_streams(flags.bundle)
        caller.answer(0, asked.answer(bootstrap.location(flags)))
        os.close(caller.fileno())
        if listener is not None:
            pod_server.serve(flags, self._engine, listener, _STDERR)


def _become_child_of(caller: Caller, inherited: Inheritance, own: Inheritance) -> None:
    gc.disable()  # a collection would write to every page shared with the daemon
    thin_signal.set_wakeup_fd(-1)
    os.setsid()
    os.fchdir(caller.folder)
    os.environ.clear()
    os.environ.update(caller.call.environment)
    inherited.take_over(own)
