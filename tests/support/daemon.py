"""A node daemon with a socket of its own."""

from __future__ import annotations

import select
import signal
import subprocess
from pathlib import Path

from tests.support.places import BIN

_SECONDS = 20


class Daemon:
    """A started daemon; shims find it by RUNWASI_MANAGER."""

    def __init__(self, folder: Path, *arguments: str, **popen: object) -> None:
        self.path = folder / "manager" / "manager.sock"
        self.note = Path(f"{self.path}.hangs")
        self.process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            [f"{BIN}/containerd-wasmtimed", "-address", str(self.path), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **popen,
        )
        assert self.process.stderr is not None
        select.select([self.process.stderr], [], [], _SECONDS)
        assert b'msg="serving"' in self.process.stderr.readline()

    @property
    def pid(self) -> int:
        """Its pid."""
        return self.process.pid

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it, whatever its state; nothing happens when it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(_SECONDS)
        if self.process.stderr:
            self.process.stderr.close()
