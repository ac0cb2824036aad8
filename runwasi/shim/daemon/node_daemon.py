"""The node daemon of shared mode: it has the server's code and the engine loaded, and forks a server per pod.

A fork shares the daemon's memory copy-on-write and needs no start of Python. The pods' servers do not depend
on the daemon afterwards: it may end, be killed or be replaced while they run on.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself takes 3 ms to import, for its enumerations
import _socket
import gc
import os
import sys

from runwasi.engines import registry
from runwasi.engines.engine import EngineMissing
from runwasi.linux import processes, sockets
from runwasi.shim import pod_socket
from runwasi.shim.client.launcher import print_version
from runwasi.shim.client.usage_text import daemon_help
from runwasi.shim.daemon import holes, rehearsal
from runwasi.shim.daemon.handover import MAX_PACKET, manager_path
from runwasi.shim.flags import Flags, UsageError
from runwasi.shim.server import pod_server, spawn
from runwasi.shim.server.log import Log
from runwasi.shim.server.orphans import Orphans
from runwasi.shim.server.reactor import Reactor
from runwasi.startup import packs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.engines.engine import Engine

_STDERR = 2
_FAREWELL = 1.0  # seconds that a client which has connected may take to ask


def main(engine: str | Engine) -> int:
    """Run the daemon of an engine until SIGTERM or SIGINT; returns the exit status.

    `-address PATH` is where client shims find it, by default /run/io.containerd.ENGINE.v1/manager.sock.
    """
    program = os.path.basename(sys.argv[0])
    default = manager_path(engine if isinstance(engine, str) else engine.name)
    try:
        flags = Flags.parse(sys.argv[1:])
        if flags.action:
            raise UsageError(f"unknown action {flags.action!r}: the daemon takes none")
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    if flags.h or flags.help:
        print(daemon_help(program, default), end="")
        return 0
    if flags.v or flags.version:
        return print_version()
    flags.address = flags.address or default
    os.makedirs(os.path.dirname(flags.address), 0o711, exist_ok=True)
    spawn.execute(spawn.command("runwasi.shim.daemon.node_daemon", "serve", engine, flags.arguments()))
    return 1


def serve(engine: str | Engine) -> None:
    """Serve, in the read-only copy of the interpreter that pods' servers must run from too."""
    flags = Flags.parse(sys.argv[1:])
    log = Log(_STDERR, debug=flags.debug)
    loaded = registry.load(engine) if isinstance(engine, str) else engine
    try:
        loaded.load()
    except EngineMissing as error:
        log.warning("native containers only", error=str(error))
    listener = pod_socket.listen_or_find(flags.address, _socket.SOCK_SEQPACKET)
    if listener < 0:
        log.error("another daemon answers there", address=flags.address)
        os._exit(1)
    Daemon(loaded, listener, flags.address, log).run()


class Daemon:
    """Takes requests, and forks."""

    def __init__(self, engine: Engine, listener: int, address: str, log: Log) -> None:
        self._engine = engine
        self._address = address
        self._listener = listener
        self._log = log
        self._reactor = Reactor(on_error=lambda error: log.fault("daemon", error))
        self._clients: set[int] = set()

    def run(self) -> None:
        """Serve until a signal says to end."""
        os.set_blocking(self._listener, False)
        self._reactor.watch(self._listener, self._accept)
        Orphans(self._reactor, {_signal.SIGTERM: self._end, _signal.SIGINT: self._end})
        rehearsal.rehearse(self._engine, f"{self._address}.rehearsal", self._log)
        packs.forget()
        gc.collect()
        self._holes = holes.fill()
        gc.freeze()
        processes.set_title(f"{registry.daemon_name(self._engine.name)} -address {self._address}")
        self._log.info("serving", engine=self._engine.name)
        self._reactor.run()

    def _end(self) -> None:
        """Stop, but answer those who have connected: their pods would fail although a successor comes."""
        if self._listener < 0:
            return
        os.unlink(self._address)
        while self._accepted():
            pass
        self._reactor.unwatch(self._listener)
        os.close(self._listener)
        self._listener = -1
        self._reactor.call_later(_FAREWELL if self._clients else 0, self._reactor.stop)

    def _accept(self, _events: int) -> None:
        self._accepted()

    def _accepted(self) -> bool:
        """Take a connection; False when there was none."""
        try:
            client = sockets.accept(self._listener)
        except BlockingIOError:
            return False
        except ConnectionAbortedError:
            return True
        if sockets.peer_credentials(client)[1:] != (os.geteuid(), os.getegid()):
            os.close(client)
            return True
        self._clients.add(client)
        self._reactor.watch(client, lambda _events: self._ready(client))
        return True

    def _ready(self, client: int) -> None:
        self._reactor.unwatch(client)
        try:
            self._take(client)
        finally:
            self._clients.discard(client)
            os.close(client)
        if self._listener < 0 and not self._clients:
            self._reactor.stop()

    def _take(self, client: int) -> None:
        packet, fds = sockets.receive_fds(client, MAX_PACKET)
        try:
            if len(fds) != 1:
                return  # gone, or nothing we know
            flags = Flags.parse(packet.decode().split("\0"))
            self._fork(flags, fds[0])
            os.write(client, b"ok")
        except (OSError, ValueError) as error:
            self._log.error("cannot serve a pod", error=str(error))
            os.write(client, str(error).encode())
        finally:
            sockets.close_all(fds)

    def _fork(self, flags: Flags, listener: int) -> None:
        child = processes.fork_into()
        if child is not None:
            os.close(child.pidfd)
            return
        try:
            serve_pod(flags, self._engine, listener)
        except BaseException as error:  # noqa: BLE001  nothing of the daemon may run on in its child
            self._log.fault(f"server of {flags.group}", error)
        finally:
            os._exit(0)


def serve_pod(flags: Flags, engine: Engine, listener: int) -> None:
    """Become the server of a pod, in a process just forked."""
    _signal.set_wakeup_fd(-1)
    os.setsid()
    processes.close_fds_except({0, 1, _STDERR, listener})
    spawn.arrange_descriptors(flags.bundle, listener)
    if flags.shim_cgroup:
        spawn.join_cgroup(flags.shim_cgroup)
    pod_server.serve(flags, engine, spawn.LISTENER, _STDERR)
