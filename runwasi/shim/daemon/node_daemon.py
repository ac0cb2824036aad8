"""Runs the node daemon: it starts, serves and ends.

It has the server's code and the engine loaded. A fork shares its memory copy-on-write and needs no start of Python.
The pods' servers do not depend on the daemon afterwards: it may end, be killed or be replaced while they run on.
"""

from __future__ import annotations

import gc
import os
import sys

from runwasi.engines import registry
from runwasi.engines.engine import EngineMissing
from runwasi.linux import processes
from runwasi.linux.fd import Fd
from runwasi.linux.service_manager import FIRST_SOCKET, ServiceManager
from runwasi.linux.standard_streams import open_missing
from runwasi.shim import pod_socket
from runwasi.shim.client.launcher import complain, engine_name, print_output, print_version
from runwasi.shim.client.packet import daemon_socket_path
from runwasi.shim.client.usage_text import daemon_help
from runwasi.shim.daemon import handover, holes, presence, rehearsal
from runwasi.shim.daemon.answers import Answers
from runwasi.shim.daemon.calls import Calls
from runwasi.shim.daemon.pods import PodsNotTakenOver
from runwasi.shim.flags import Flags, UsageError
from runwasi.shim.server import spawn
from runwasi.shim.server.log import Log
from runwasi.shim.server.orphans import Orphans
from runwasi.shim.server.reactor import Reactor
from runwasi.startup import again, immortal, installation, packs, thin_signal, thin_socket
from runwasi.startup.again import ATTEMPTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from runwasi.engines.engine import Engine
    from runwasi.shim.daemon.calls import Caller

_STDERR = 2
_BACKLOG = 4096  # starts that may wait; a client whose connection is refused starts cold


def main(engine: str | Engine) -> int:
    """Run the daemon of an engine until SIGTERM or SIGINT; return the exit status.

    `-address PATH` is where shims find it, by default /run/io.containerd.ENGINE.v1/manager.sock.
    """
    open_missing()
    program, flags = os.path.basename(sys.argv[0]), Flags()
    try:
        flags = Flags.parse(sys.argv[1:])
        return _run(program, flags, engine)
    except (UsageError, OSError) as error:
        complain(program, error)
        if flags.handover.isdigit():  # and not the question, which somebody else answers to
            handover.begin_again(_command(flags), int(flags.handover))
        return 1


def _run(program: str, flags: Flags, engine: str | Engine) -> int:
    default = daemon_socket_path(engine_name(engine))
    if flags.action:
        raise UsageError(f"unknown action {flags.action!r}: the daemon takes none")
    if flags.h or flags.help:
        return print_output(daemon_help(program, default).encode())
    if flags.v or flags.version:
        return print_version(program)
    if flags.handover == handover.QUESTION:
        return print_output(f"{handover.FORMAT}\n".encode())
    flags.address = flags.address or default
    flags.program = os.path.abspath(sys.argv[0])
    os.makedirs(os.path.dirname(flags.address), 0o711, exist_ok=True)
    otherwise = again.text(repr(flags.program), installation.held()) if flags.handover else ""
    module = "runwasi.shim.daemon.node_daemon"
    spawn.execute(spawn.command(module, "serve", engine, flags.arguments(), otherwise))
    return 1


def serve(engine: str | Engine) -> None:
    """Serve, in the read-only copy of the interpreter that pods' servers must run from too."""
    flags = Flags.parse(sys.argv[1:])
    log = Log(_STDERR, debug=flags.debug)
    if flags.handover:
        _replacing(engine, flags, log).run()
    else:
        _new(engine, flags, log).run()


def _new(engine: str | Engine, flags: Flags, log: Log) -> Daemon:
    loaded = _loaded(engine)
    try:
        loaded.load()
    except EngineMissing as error:
        log.warning("native containers only", error=str(error))
    manager = ServiceManager()
    listener: int | None = FIRST_SOCKET
    if not manager.sockets:
        listener = pod_socket.listen_or_find(flags.address, thin_socket.SOCK_SEQPACKET, _BACKLOG)
    if listener is None:
        log.error("another daemon answers there", address=flags.address)
        os._exit(1)
    os.set_inheritable(listener, False)
    daemon = Daemon(loaded, Fd(listener), flags, log, manager)
    daemon.prepare({})
    return daemon


def _replacing(engine: str | Engine, flags: Flags, log: Log) -> Daemon:
    """Return a daemon with all that the program has handed over that it replaces; begin again if that fails."""
    file, manager = int(flags.handover), ServiceManager()
    handed = daemon = None
    try:
        handed = handover.Handed(file)
        # what the old program could not do either is no reason to begin again
        strict = handed.failures < ATTEMPTS - 1 and handed.state.get("rehearsed", True)
        loaded = _loaded(engine)
        try:
            loaded.load()
        except EngineMissing as error:
            if strict:
                raise
            log.warning("native containers only", error=str(error))
        daemon = Daemon(loaded, Fd(handed.state["listener"]), flags, log, manager)
        daemon.prepare(handed.state, strict=strict)
        handed.settle()
    except Exception as error:
        log.warning("cannot take over yet", reason=repr(error))
        if handed is not None and isinstance(error, PodsNotTakenOver) and handed.failures >= ATTEMPTS - 2:
            handed.drop(error.pods)
        if daemon is not None:
            daemon.keep_signals()
        os.environ.update(manager.variables)
        handover.begin_again(_command(flags), file, handed)
        raise
    return daemon


def _loaded(engine: str | Engine) -> Engine:
    return registry.load(engine) if isinstance(engine, str) else engine


def _command(flags: Flags) -> list[str]:
    """Return the command that started us."""
    idle = ["-idle", flags.idle] if flags.idle else []
    debug = ["-debug"] if flags.debug else []
    return [flags.program or os.path.abspath(sys.argv[0]), "-address", flags.address, *idle, *debug]


class Daemon:
    """The daemon and its parts."""

    def __init__(self, engine: Engine, listener: Fd, flags: Flags, log: Log, manager: ServiceManager) -> None:
        self._engine = engine
        self._flags = flags
        self._listener = listener
        self._log = log
        self._manager = manager
        self._orphans: Orphans | None = None
        self._reactor = Reactor(on_error=lambda error: log.fault("daemon", error))
        self._calls: Calls
        self._followed = False
        self._rehearsed = False
        self._answers: Answers

    def prepare(self, state: Mapping[str, Any], *, strict: bool = False) -> None:
        """Make all that it takes to serve; state is that of the program that we replace, if any.

        With strict the rehearsal must go well too: a failed rehearsal may leave descriptors open, and beginning again
        closes them. Raises OSError, PodsNotTakenOver and others.
        """
        processes.set_child_subreaper()
        ends: dict[int, Callable[[], None]] = {thin_signal.SIGTERM: self._end, thin_signal.SIGINT: self._end}
        self._orphans = Orphans(self._reactor, {**ends, thin_signal.SIGHUP: self._reload})
        if state:
            thin_signal.pthread_sigmask(thin_signal.SIG_UNBLOCK, handover.SIGNALS)
            self._orphans.expect()  # the signals of those that ended in between are lost
        self._rehearsed = rehearsal.rehearse(self._engine, f"{self._flags.address}.rehearsal", self._log)
        if not self._rehearsed and strict:
            raise RuntimeError("the rehearsal failed")
        self._answers = Answers(self._reactor, self._engine, self._log)
        packs.forget()
        gc.collect()
        immortal.make_immortal()
        self._holes = holes.fill()
        gc.freeze()
        gc.enable()  # what pods leave is garbage
        processes.set_title(f"{registry.daemon_name(self._engine.name)} -address {self._flags.address}")
        if state:
            self._answers.pods.take_over(state)
        self._serve()

    def keep_signals(self) -> None:
        """Keep signals until the program has begun again; those that came while it prepared become pending."""
        thin_signal.pthread_sigmask(thin_signal.SIG_BLOCK, handover.SIGNALS)
        if self._orphans is not None:
            self._orphans.raise_again(handover.SIGNALS)

    def run(self) -> None:
        """Serve until a signal ends it."""
        self._answers.pods.go_on()
        self._manager.notify("READY=1")
        presence.beat(self._reactor, self._manager)
        self._log.info("serving", engine=self._engine.name)
        if self._flags.handover:
            installation.remove_others()
        self._reactor.run()
        installation.leave()

    def _serve(self) -> None:
        answers = self._answers
        handle = answers.handle
        if self._flags.idle:
            idle = presence.IdleEnd(
                self._reactor, float(self._flags.idle), lambda: len(answers.pods) > 0, self._end
            )

            def handle(caller: Caller) -> None:
                idle.called()
                answers.handle(caller)

        self._replacement = handover.Replacement(
            self._reactor,
            self._log,
            _command(self._flags),
            self._hold_back,
            lambda: self._calls.quiet() and answers.quiet(),
            self._replace,
        )
        self._calls = Calls(
            self._reactor, self._listener, self._flags.address, self._log, handle, self._follow
        )

    def _reload(self) -> None:
        """Start being replaced by the newly installed program."""
        self._replacement.ask_for()

    def _follow(self) -> None:
        """Replace the daemon, as a shim is of a later version. Try only once: a refusal would come each time."""
        if not self._followed:
            self._followed = True
            self._reload()

    def _hold_back(self, held: bool) -> None:
        try:
            self._calls.hold_back(held)
        finally:
            self._answers.pods.hold_back(held)

    def _replace(self) -> None:
        self._manager.notify("RELOADING=1")
        os.environ.update(self._manager.variables)
        try:
            handover.hand_over(
                _command(self._flags),
                lambda keep: {
                    "listener": keep(self._listener),
                    "rehearsed": self._rehearsed,
                    **self._answers.pods.state(keep),
                },
            )
        finally:  # it could not: all stays as it was
            for name in self._manager.variables:
                os.environ.pop(name, None)
            self._manager.notify("READY=1")

    def _end(self) -> None:
        """Take no new pods, and end with the last; first answer connected clients, whose pods would fail."""
        self._manager.notify("STOPPING=1")
        if not self._manager.sockets:  # otherwise the service manager keeps it for the next one
            try:
                os.unlink(self._flags.address)
            except FileNotFoundError:
                pass
        self._calls.end(lambda: self._answers.pods.when_deserted(self._reactor.stop))
