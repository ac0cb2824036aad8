"""A pod's shim without containerd, to which containers are given over ttrpc."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from devtools.places import BIN
from devtools.ttrpc import Methods, Peer, task_service


@contextlib.contextmanager
def running_shim(
    bundle: Path, container: str, *, namespace: str, address: Path, seconds: float = 20
) -> Iterator[Methods]:
    """Start a shim for a pod of this bundle and id, without creating its task; shut down in the end."""
    command = [f"{BIN}/containerd-shim-wasmtime-v1", "-namespace", namespace, "-address", str(address)]
    started = subprocess.run(
        [*command, "-publish-binary", "/bin/true", "-id", container, "start"],
        cwd=bundle,
        env=dict(os.environ, TTRPC_ADDRESS=f"{address}.ttrpc"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    with Peer(started.stdout.strip(), timeout=seconds) as peer:
        service = task_service(peer)
        try:
            yield service
        finally:
            # It may be gone before its answer is.
            with contextlib.suppress(EOFError, ConnectionResetError):
                service.call("Shutdown", id=container)
