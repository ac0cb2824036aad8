"""A shim driven as containerd drives it, without containerd: command line, Task service, events."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from devtools.places import BIN
from devtools.ttrpc import CallError, Methods, Peer, task_service
from runwasi.wire.messages import events as event_types
from runwasi.wire.messages.bootstrap import BootstrapParams, BootstrapResult
from runwasi.wire.messages.event_forward import ForwardRequest
from runwasi.wire.messages.ttrpc import Request, Response
from runwasi.wire.ttrpc_frames import RESPONSE, FrameDecoder, frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from devtools.bundle import Bundle

PROGRAMS = {
    "runwasi": f"{BIN}/containerd-shim-wasmtime-v1",
    "shared": f"{BIN}/containerd-shim-wasmtimed-v1",
    "runc": "/usr/bin/containerd-shim-runc-v2",
}
_SECONDS = 60


class Event(NamedTuple):
    """One event as the shim forwarded it."""

    topic: str
    namespace: str
    fields: Any


class EventSink:
    """Stands for containerd's ttrpc socket, where shims send their events."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrived: queue.Queue[Event] = queue.Queue()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connections: list[socket.socket] = []
        self._in_order = threading.Lock()
        self._going = threading.Event()
        self._going.set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def next(self, *, timeout: float = _SECONDS) -> Event:
        """Wait for the next event."""
        return self._arrived.get(timeout=timeout)

    def topics(self, count: int) -> list[str]:
        """Wait for so many events and return what they were, without /tasks/."""
        return [self.next().topic.removeprefix("/tasks/") for _ in range(count)]

    def empty(self) -> bool:
        """Return whether nothing unexpected has arrived."""
        return self._arrived.empty()

    def pause(self) -> None:
        """Take events and answer nothing, as a containerd that is busy."""
        self._going.clear()

    def go_on(self) -> None:
        """Answer again."""
        self._going.set()

    def drop_connections(self) -> None:
        """Close every connection, as a containerd that is killed does."""
        while self._connections:
            with contextlib.suppress(OSError):
                self._connections.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.drop_connections()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        frames = FrameDecoder()
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                for stream, _kind, body in frames.feed(data):
                    assert body is not None
                    self._going.wait(_SECONDS)
                    # the answer first: a test that has seen the event may cut the connection; but a next event
                    # that follows the answer, on another connection, must not overtake this one
                    with self._in_order:
                        connection.sendall(frame(stream, RESPONSE, Response().encode()))
                        self._take(ForwardRequest.decode(Request.decode(body).payload))

    def _take(self, request: ForwardRequest) -> None:
        envelope = request.envelope
        assert envelope is not None
        assert envelope.event is not None
        assert envelope.timestamp is not None
        assert envelope.timestamp.seconds > 0
        name = envelope.event.type_url.removeprefix("containerd.events.")
        fields = getattr(event_types, name).decode(envelope.event.value)
        self._arrived.put(Event(envelope.topic, envelope.namespace, fields))


class Shim:
    """One shim for one bundle; tasks of other bundles may join it by their group annotation."""

    def __init__(self, kind: str, namespace: str, sink: EventSink, programs: Path | None = None) -> None:
        self.kind = kind
        program = Path(PROGRAMS[kind])
        self.program = str(programs / program.name if programs else program)
        self.namespace = namespace
        self.sink = sink
        self._started: list[tuple[str, Bundle, int]] = []

    def command(self, container_id: str, *arguments: str) -> list[str]:
        address = f"{self.sink.path.parent}/containerd.sock"
        return [
            *(self.program, "-namespace", self.namespace, "-address", address),
            *("-publish-binary", "/bin/true", "-id", container_id, *arguments),
        ]

    def start(self, container_id: str, bundle: Bundle, *, stdin: bytes = b"") -> str:
        """Run the shim's `start` in a bundle and return the address it printed."""
        if not (bundle.path / "log").exists():
            os.mkfifo(bundle.path / "log", 0o700)
        # containerd reads the log; without it the shim's FIFO would have no reader
        reader = os.open(bundle.path / "log", os.O_RDWR | os.O_NONBLOCK)
        self._started.append((container_id, bundle, reader))
        environment = {**os.environ, "TTRPC_ADDRESS": str(self.sink.path)}
        done = subprocess.run(
            self.command(container_id, "start"),
            cwd=bundle.path,
            env=environment,
            input=stdin,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def bootstrap(self, container_id: str, bundle: Bundle, socket_dir: Path) -> BootstrapResult:
        """Run `start` as containerd 2.3 does: with parameters, to be answered in kind. The caller shuts it down."""
        os.mkfifo(bundle.path / "log")
        params = BootstrapParams(
            instance_id=container_id,
            namespace=self.namespace,
            containerd_version="2.3.0",
            socket_dir=str(socket_dir),
        )
        program = self.command(container_id, "start")
        done = subprocess.run(
            program, cwd=bundle.path, input=params.encode(), capture_output=True, check=True
        )
        return BootstrapResult.decode(done.stdout)

    def delete(self, container_id: str, bundle: Bundle) -> subprocess.CompletedProcess[bytes]:
        """Run the shim's `delete` as containerd does after it lost the shim."""
        return subprocess.run(
            self.command(container_id, "-bundle", str(bundle.path), "delete"),
            cwd=bundle.path,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )

    def log(self, bundle: Bundle) -> str:
        """The server's log so far."""
        reader = next(fd for _, started, fd in self._started if started is bundle)
        text = b""
        with contextlib.suppress(BlockingIOError):
            while part := os.read(reader, 65536):
                text += part
        return text.decode()

    def clean(self) -> None:
        """Delete whatever a test left."""
        for container_id, bundle, reader in self._started:
            self._end(container_id, bundle)
            os.close(reader)

    def _end(self, container_id: str, bundle: Bundle) -> None:
        address = bundle.path / "address"
        with contextlib.suppress(OSError, EOFError), Peer(address.read_text(), timeout=5) as peer:
            tasks = task_service(peer)
            with contextlib.suppress(CallError):
                tasks.call("Kill", id=container_id, signal=9, all=True)
                tasks.call("Wait", id=container_id)
                tasks.call("Delete", id=container_id)
            tasks.call("Shutdown", id=container_id)
        with contextlib.suppress(FileNotFoundError):  # a program that the test had uninstalled
            self.delete(container_id, bundle)


class RunningShim:
    """A started shim with a connection and its Task service."""

    def __init__(self, shim: Shim, container_id: str, bundle: Bundle) -> None:
        self.shim = shim
        self.id = container_id
        self.bundle = bundle
        self.address = shim.start(container_id, bundle)
        self.peer = Peer(self.address)
        self.tasks: Methods = task_service(self.peer)
        self.pid: int = self.tasks.call("Connect", id="nobody").shim_pid

    def call(self, method: str, **members: object) -> Any:
        """Call a method about this shim's own container."""
        return self.tasks.call(method, **{"id": self.id, **members})  # type: ignore[arg-type]

    def ended(self) -> bool:
        """Wait until the server closes the connection; False if it has not after a while."""
        self.peer.socket.settimeout(_SECONDS)
        try:
            return self.peer.socket.recv(1) == b""
        except TimeoutError:
            return False

    def create(self, **members: object) -> int:
        """Create the container and return its pid."""
        pid: int = self.call("Create", bundle=str(self.bundle.path), **members).pid
        return pid

    def run(self, **members: object) -> int:
        """Create and start the container."""
        self.create(**members)
        pid: int = self.call("Start").pid
        return pid


@contextlib.contextmanager
def running(shim: Shim, container_id: str, bundle: Bundle) -> Iterator[RunningShim]:
    """A started shim whose connection is closed in the end."""
    started = RunningShim(shim, container_id, bundle)
    try:
        yield started
    finally:
        started.peer.close()
