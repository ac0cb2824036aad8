"""Reads the operator's settings of the HTTP server, and starts the server with them."""

from __future__ import annotations

import os
import socket

from runwasi.engines.annotations import HTTP_ACCESS_LOG, HTTP_WORKERS
from runwasi.engines.engine import CannotHandle, EngineError
from runwasi.wasi.http.http_server import HttpServer
from runwasi.wasi.http.response_counts import counts_of, make_counts
from runwasi.wasi.http.workers import run_workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runwasi.engines.engine import Context
    from runwasi.wasi.http.guest_call import Handler

SOCKET_ADDR = "WASMTIME_HTTP_PROXY_SOCKET_ADDR"
"""HOST:PORT to listen on, an IPv6 host in brackets. Read from the container's environment, not passed on."""
BACKLOG = "WASMTIME_HTTP_PROXY_BACKLOG"
"""The listener's backlog. Read from the container's environment, not passed on."""

DEFAULT_ADDR = "0.0.0.0:8080"
DEFAULT_BACKLOG = "100"
MOST_WORKERS = 8


class HttpSettings:
    """Where to listen, and with how many workers."""

    def __init__(self, ctx: Context) -> None:
        """Read the settings. Raises CannotHandle naming the invalid one."""
        environment = dict(variable.partition("=")[::2] for variable in ctx.env)
        self.host, self.port = _address(environment.get(SOCKET_ADDR, DEFAULT_ADDR))
        self.backlog = _number(BACKLOG, environment.get(BACKLOG, DEFAULT_BACKLOG))
        cpus = min(MOST_WORKERS, len(os.sched_getaffinity(0)))
        self.workers = HTTP_WORKERS.of(ctx.annotations) or cpus
        self._listener: socket.socket | None = None
        self._refusal: EngineError | None = None
        self.access_log = HTTP_ACCESS_LOG.of(ctx.annotations)

    def listen(self) -> None:
        """Begin to listen; `serve` raises what hinders it."""
        try:
            self._listener = self._listen()
        except EngineError as error:
            self._refusal = error

    @staticmethod
    def guest_env(env: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the environment without the server's own settings."""
        return [pair for pair in env if pair[0] not in (SOCKET_ADDR, BACKLOG)]

    def serve(self, handler: Handler) -> int:
        """Serve until told to end, and listen unless `listen` did; return the exit status. Raises EngineError."""
        if self._refusal is not None:
            raise self._refusal
        listener = self._listener or self._listen()
        counts = make_counts()

        def work(number: int, drain_fd: int) -> None:
            own = counts_of(counts, number)
            server = HttpServer(listener, handler, own, access_log=self.access_log)
            server.drain_on(drain_fd)
            server.run()

        return run_workers(self.workers, work, handler.follow_limits)

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(self.backlog)
        except OSError as error:
            raise EngineError(f"cannot listen on {self.host}:{self.port}: {error.strerror}") from error
        return listener


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    numeric = host.removeprefix("[").removesuffix("]")
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in numeric else socket.AF_INET, numeric)
    except OSError:
        raise CannotHandle(f"{SOCKET_ADDR}: {text!r} is not IP:PORT") from None
    if not (port.isdigit() and int(port) < 1 << 16):
        raise CannotHandle(f"{SOCKET_ADDR}: {text!r} is not IP:PORT")
    return numeric, int(port)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31):
        raise CannotHandle(f"{name}: {text!r} is not a number above 0")
    return int(text)
