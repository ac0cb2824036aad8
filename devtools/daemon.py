"""Runs a node daemon with a socket of its own."""

from __future__ import annotations

import select
import signal
import subprocess
from pathlib import Path

from devtools.places import BIN

_SECONDS = 60


class Daemon:
    """A started daemon; shims find it by its environment."""

    def __init__(
        self, folder: Path, *arguments: str, program: Path = BIN / "containerd-wasmtimed", **popen: object
    ) -> None:
        self.path = folder / "manager" / "manager.sock"
        self.note = Path(f"{self.path}.hangs")
        self.process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
            [str(program), "-address", str(self.path), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,  # what select says must be true
            **popen,
        )
        self.log: list[str] = []
        try:
            self.wait_for("serving")
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    def wait_for(self, message: str) -> None:
        """Read the log up to a message."""
        while True:
            line = self.next_line()
            assert line, "the daemon ended"
            if f'msg="{message}"' in line:
                return

    def next_line(self, seconds: float = _SECONDS) -> str:
        """Wait for the next line of the log; return "" when the daemon has ended."""
        assert self.process.stderr is not None
        assert select.select([self.process.stderr], [], [], seconds)[0]
        line = self.process.stderr.readline().decode()
        self.log.append(line)
        return line

    def reload(self) -> None:
        """Have it replace itself, and return when it serves again."""
        self.process.send_signal(signal.SIGHUP)
        self.wait_for("serving")

    @property
    def environment(self) -> dict[str, str]:
        """The variables that let shims find it, and forbid them to leave one of their own behind."""
        return {"RUNWASI_DAEMON_SOCKET": str(self.path), "RUNWASI_DAEMON": "managed"}

    @property
    def pid(self) -> int:
        """Its pid."""
        return self.process.pid

    def private_memory(self) -> int:
        """KiB that it shares with nobody."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it, whatever its state; nothing happens when it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(_SECONDS)
        if self.process.stderr:
            self.process.stderr.close()
