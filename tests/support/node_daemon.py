"""Runs a node daemon of a test's own, has shims find it, and connects to it as they do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devtools.daemon import Daemon
from devtools.places import BIN


@contextmanager
def running_daemon(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    program: Path = BIN / "containerd-wasmtimed",
    **popen: object,
) -> Iterator[Daemon]:
    """Run a daemon that whatever starts from now on finds; it ends with the block."""
    daemon = Daemon(folder, program=program, **popen)
    try:
        make_found(daemon, monkeypatch)
        yield daemon
    finally:
        daemon.stop()


def make_found(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whatever starts from now on find a daemon."""
    for name, value in daemon.environment.items():
        monkeypatch.setenv(name, value)


@contextmanager
def connected(daemon: Daemon) -> Iterator[socket.socket]:
    """Connect to a daemon's socket, as a launcher does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(20)
        peer.connect(str(daemon.path))
        yield peer
