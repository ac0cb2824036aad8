"""Runs the process that asks containerd on a server's behalf: it starts when first needed, and ends when idle.

    server ── forks ──> helper                    one seqpacket socket between them
    errand ── request, and a socket to answer on ──> helper ── gRPC ──> containerd
    errand <── answer, and the layers' descriptors ── helper

An errand is a short-lived process that may block; the server itself never asks. grpcio takes 40 ms to import and
starts threads, after which a process must not fork: so neither the server nor its children import it while there
is a helper. A child that finds none, because it has just ended, asks containerd itself.
"""

from __future__ import annotations

import os
import select

from runwasi.containerd.containerd_error import ContainerdError
from runwasi.engines import registry
from runwasi.engines.layer_choice import Layer
from runwasi.linux import processes, sockets
from runwasi.linux.fd import Fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from runwasi.engines.engine import Engine
    from runwasi.linux.processes import Child

IDLE = 60.0
"""Seconds without a request after which the helper ends; the next one pays 40 ms again."""

LAYERS, KEEP = "layers", "keep"
_DONE, _FAILED = "done", "failed"
_MAX_PACKET = 128 << 10


class ImageHelper:
    """The helper of one server, as seen by the server and its children."""

    def __init__(self, engine: str | Engine, idle: float = IDLE) -> None:
        """engine is the server's, by name or as an object; idle is in seconds."""
        self._engine = engine
        self._idle = idle
        self._socket: int | None = None

    def start(self) -> Child | None:
        """Start a helper if none runs, and return it; None if one runs. The caller waits for its end and notes it."""
        if self._socket is not None:
            return None
        ours, theirs = map(Fd, sockets.socket_pair())
        with theirs:
            try:
                child = processes.fork_into(processes.CLONE_CLEAR_SIGHAND)
            except OSError:
                ours.close()
                raise
            if child is None:
                _serve(theirs.fileno(), self._engine, self._idle)
        self._socket = ours.detach()
        return child

    def fds(self) -> tuple[int, ...]:
        """Return the descriptors that a process needs to ask the helper."""
        return () if self._socket is None else (self._socket,)

    def ended(self) -> None:
        """Note that the helper is gone."""
        if self._socket is not None:
            os.close(self._socket)
            self._socket = None

    def fetch_layers(self, address: str, namespace: str, container_id: str) -> tuple[Layer, ...]:
        """Return the wasm layers of a container's image, with descriptors that the caller owns.

        address is that of containerd's socket. Raises ContainerdError.
        """
        fields, fds = self._ask((LAYERS, address, namespace, container_id), ())
        return tuple(Layer.from_text(text, fd) for text, fd in zip(fields, fds, strict=True))

    def keep_artefact(self, address: str, namespace: str, layer: str, key: str, artefact: int) -> None:
        """Keep a compiled module in containerd's content store beside its layer. Raises ContainerdError."""
        self._ask((KEEP, address, namespace, layer, key), (artefact,))

    def _ask(self, request: tuple[str, ...], fds: tuple[int, ...]) -> tuple[Sequence[str], Sequence[int]]:
        answer = self._from_helper(request, fds)
        return answer if answer is not None else _answer(request, fds, _loaded(self._engine))

    def _from_helper(
        self, request: tuple[str, ...], fds: tuple[int, ...]
    ) -> tuple[Sequence[str], Sequence[int]] | None:
        """Ask the helper; None if there is none, or it ended without an answer."""
        if self._socket is None:
            return None
        ours, theirs = sockets.socket_pair()
        try:
            try:
                sockets.send_fds(self._socket, _packed(request), (theirs, *fds))
            except (BrokenPipeError, ConnectionResetError):
                return None
            finally:
                os.close(theirs)
            packet, received = sockets.receive_fds(ours, _MAX_PACKET)
        except ConnectionResetError:
            return None
        finally:
            os.close(ours)
        if not packet:
            return None
        verdict, *fields = _unpacked(packet)
        if verdict == _FAILED:
            raise ContainerdError(fields[0], int(fields[1]))
        return fields, received


def _serve(requests: int, engine: str | Engine, idle: float) -> NoReturn:
    """Answer requests, in the helper, until it is idle for a while, or the server and its errands are gone."""
    status = 1
    try:
        processes.close_fds_except({0, 1, 2, requests})
        processes.set_name("runwasi-images")
        loaded = _loaded(engine)
        poll = select.poll()
        poll.register(requests, select.POLLIN)
        while poll.poll(idle * 1000):
            packet, fds = sockets.receive_fds(requests, _MAX_PACKET)
            if not packet:
                break
            _answer_to(fds[0], _unpacked(packet), tuple(fds[1:]), loaded)
        status = 0
    finally:
        os._exit(status)  # the child must never return into the server's code


def _answer_to(reply: int, request: Sequence[str], fds: tuple[int, ...], engine: Engine) -> None:
    """Answer one request; the caller gets an answer even if the request fails."""
    opened: Sequence[int] = ()
    try:
        fields, opened = _answer(request, fds, engine)
        sockets.send_fds(reply, _packed((_DONE, *fields)), tuple(opened))
    except BrokenPipeError:
        pass  # the errand is gone, and its container with it
    except Exception as error:  # noqa: BLE001  report failures that are not containerd's too
        code = error.code if isinstance(error, ContainerdError) else ContainerdError("").code
        try:
            sockets.send_fds(reply, _packed((_FAILED, str(error), str(code))), ())
        except BrokenPipeError:
            pass
    finally:
        sockets.close_all((reply, *fds, *opened))


def _answer(
    request: Sequence[str], fds: Sequence[int], engine: Engine
) -> tuple[Sequence[str], Sequence[int]]:
    """Ask containerd, in this process."""
    kind, address, namespace, *rest = request
    if kind == LAYERS:
        from runwasi.containerd.image_layers import fetch_layers  # late: grpcio, 40 ms

        layers = fetch_layers(address, namespace, rest[0], engine)
        return tuple(layer.to_text() for layer in layers), tuple(layer.fd for layer in layers)
    from runwasi.containerd.artefacts import keep_artefact  # late: grpcio, as above

    keep_artefact(address, namespace, engine.name, rest[0], rest[1], fds[0])
    return (), ()


def _loaded(engine: str | Engine) -> Engine:
    return registry.load(engine) if isinstance(engine, str) else engine


def _packed(fields: Sequence[str]) -> bytes:
    return "\0".join(fields).encode(errors="surrogateescape")[:_MAX_PACKET]


def _unpacked(packet: bytes) -> list[str]:
    return packet.decode(errors="surrogateescape").split("\0")
