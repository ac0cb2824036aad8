"""Answers calls from memory, lets a fork carry them out, or sends them back to the client."""

from __future__ import annotations

import os

from runwasi.engines.registry import shim_name
from runwasi.executor.lifecycle import deletion as _deletion  # noqa: F401  now: forks for a `delete` find it imported
from runwasi.linux import processes
from runwasi.shim.bootstrap import Bootstrap
from runwasi.shim.client import cleanup, launcher
from runwasi.shim.client.info import runtime_info
from runwasi.shim.client.usage_text import shim_help
from runwasi.shim.daemon.callers import Differs, Surroundings
from runwasi.shim.daemon.children import Forks
from runwasi.shim.daemon.pods import Pods
from runwasi.shim.flags import Flags, UsageError
from runwasi.shim.services.rootfs.rootfs_mounts import has_mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.engines.engine import Engine
    from runwasi.linux.processes import Child
    from runwasi.shim.daemon.callers import Inheritance
    from runwasi.shim.daemon.calls import Caller
    from runwasi.shim.server.log import Log
    from runwasi.shim.server.reactor import Reactor


class Answers:
    """Handles calls one after another; a fork does whatever may take time."""

    def __init__(self, reactor: Reactor, engine: Engine, log: Log) -> None:
        self._reactor = reactor
        self._engine = engine.name
        self._log = log
        self._surroundings = Surroundings()
        self._forks = Forks(engine, self._surroundings.own, log)
        self._children = 0
        self.pods = Pods(reactor, engine, self._surroundings.own, log)

    def quiet(self) -> bool:
        """Return whether nothing is under way that another program could not go on with."""
        return not self._children and self.pods.quiet()

    def handle(self, caller: Caller) -> None:
        """Handle a taken call, and close the caller."""
        try:
            body = self._answer(caller)
        except (Differs, OSError) as error:
            self._log.debug("a call is not for this daemon", program=caller.call.program, error=str(error))
            caller.send_away()
        except Exception as error:  # noqa: BLE001  whatever it is becomes the answer
            if not launcher.is_expected(error):
                self._log.fault(caller.call.program, error)
            caller.answer(1, errors=launcher.complaint(caller.call.program, error))
        else:
            if body is not None:
                caller.answer(0, body)
        finally:
            caller.close()

    def _answer(self, caller: Caller) -> bytes | None:
        """Return the output, None if a fork prints it. Raises UsageError, Differs, OSError."""
        call = caller.call
        shared = call.program == shim_name(self._engine, shared=True)
        flags = Flags.parse(list(call.arguments))
        if flags.h or flags.help:
            return shim_help(call.program).encode()
        if flags.v or flags.version:
            return launcher.version_text(call.program)
        if flags.info:
            return runtime_info(self._engine, shared, call.stdin)
        flags.check_namespace()
        inherited = self._surroundings.of(caller.pid)
        if flags.action == "start":
            return self._start(caller, flags, inherited, shared=shared)
        if flags.action == "delete":
            return self._delete(caller, flags, inherited, shared=shared)
        raise UsageError(f"unknown action {flags.action!r}: expected start or delete")

    def _start(self, caller: Caller, flags: Flags, inherited: Inheritance, *, shared: bool) -> bytes | None:
        asked = Bootstrap.read(caller.call.stdin, flags)
        if shared:
            asked.complete(flags, caller.folder_path(), caller.call.environment)
            answer = self.pods.serve(flags, asked, inherited, caller.call.environment)
            if answer is not None:
                return answer
        self._forget(self._forks.serve(caller, inherited, flags, asked))
        return None

    def _delete(self, caller: Caller, flags: Flags, inherited: Inheritance, *, shared: bool) -> bytes | None:
        bundle = flags.bundle or cleanup.bundle_beside(caller.folder_path(), flags.id)
        if cleanup.has_state(bundle, flags, self._engine) or has_mount(bundle):
            socket = cleanup.socket_of(bundle)
            child = self._forks.carry_out(caller, inherited, shared=shared)
            self._follow(child, lambda: self.pods.abandon(socket, flags.id))
            return None
        return cleanup.answer(bundle)

    def _follow(self, child: Child, done: Callable[[], None]) -> None:
        """Reap a child that will end soon, then call done."""

        self._children += 1

        def ended(_events: int) -> None:
            self._children -= 1
            self._reactor.unwatch(child.pidfd)
            processes.reap(child.pidfd)
            os.close(child.pidfd)
            done()

        self._reactor.watch(child.pidfd, ended)

    def _forget(self, child: Child) -> None:
        """Forget a server; if it ends before us, it is reaped as an orphan."""
        os.close(child.pidfd)
