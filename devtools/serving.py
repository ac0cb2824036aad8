"""Serves test components to HTTP clients, in a process like a container's."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devtools.components.build import component
from devtools.engines import Completed, engine_host
from devtools.places import CACHE, ROOT
from devtools.syscall_traces import traced
from devtools.waiting import until

ARTEFACTS = CACHE / "artefacts"
"""A module cache of the tests' own: the components in Python take seconds to compile."""


def run(name: str, *args: str, stdin: str = "", **job: object) -> Completed:
    """Run a component to its end. `job` is what devtools.engine_host takes."""
    return engine_host("wasmtime").run(component(name), *args, stdin=stdin, cache=str(ARTEFACTS), **job)


def shell(script: str, **job: object) -> str:
    """Run Python inside the component "shell", on our own WASI, and return what it prints."""
    result = run("shell", stdin=textwrap.dedent(script), **job)
    assert result.returncode == 0, result.stderr
    return result.stdout


class Serving:
    """A component that serves HTTP on a port of 127.0.0.1."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def connect(self) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def client(self) -> http.client.HTTPConnection:
        """Give a client of the standard library's, so that somebody else judges our HTTP."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def pid(self) -> int:
        """Return its process id: what was started may be the program that records it."""
        recorded = _children(self.process.pid)[:1] if traced() else []
        return recorded[0] if recorded else self.process.pid

    def workers(self) -> list[int]:
        """Give the worker processes; there are none before it listens."""
        return _children(self.pid())

    def is_ready(self, workers: int) -> bool:
        """Return whether it listens and has all its workers; before that its child is the compiler."""
        try:
            self.connect().close()
        except ConnectionRefusedError:
            return False
        return len(self.workers()) == workers

    def end(self, number: signal.Signals = signal.SIGTERM, within: float = 10) -> int:
        """Send a signal and give the exit status."""
        os.kill(self.pid(), number)
        return self.process.wait(within)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@contextmanager
def serving(
    name: str | Path,
    *,
    env: Mapping[str, str] | None = None,
    workers: int = 1,
    stderr: int = subprocess.DEVNULL,
    annotations: Mapping[str, str] | None = None,
    address_space: int | None = None,
) -> Iterator[Serving]:
    """Serve a component for as long as the block runs."""
    port = free_port()
    variables = {"WASMTIME_HTTP_PROXY_SOCKET_ADDR": f"127.0.0.1:{port}", **(env or {})}
    job: dict[str, object] = {
        "engine": "wasmtime",
        "module": str(component(name) if isinstance(name, str) else name),
        "args": [str(name)],
        "env": [f"{key}={value}" for key, value in variables.items()],
        "annotations": {"io.runwasi.http.workers": str(workers), **(annotations or {})},
        "cache": str(ARTEFACTS),
    }
    if address_space is not None:
        job["address_space"] = address_space
    process = subprocess.Popen(
        [*traced(), sys.executable, "-m", "devtools.engine_host", json.dumps(job)],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # never written to
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
    )
    server = Serving(process, port)
    try:
        until(lambda: process.poll() is not None or server.is_ready(workers), bool)
        yield server
    finally:
        if process.poll() is None:
            os.kill(server.pid(), signal.SIGKILL)  # its workers go with it
        process.wait()
        assert process.stdin
        process.stdin.close()
        if process.stderr:
            process.stderr.close()


def script(code: str) -> dict[str, str]:
    """Give the fields that make the component "server" run this Python for a request."""
    return {"x-script": base64.b64encode(textwrap.dedent(code).encode()).decode()}


def free_port() -> int:
    """Give a port nobody listens on, for a server that must be told one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def taking_at_most(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer."""
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < seconds
