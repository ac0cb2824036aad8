"""Runs a node daemon of a test's own, and has shims find it."""

from __future__ import annotations

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
