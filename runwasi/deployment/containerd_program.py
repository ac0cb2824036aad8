"""Calls a node's containerd: asks for its release, and for how it reads a configuration."""

from __future__ import annotations

import os
import re
import tempfile
import time
from contextlib import contextmanager

from runwasi.deployment.deployment_error import DeploymentError
from runwasi.deployment.target_node import run
from runwasi.linux import processes, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEFAULT_CONFIG = "/etc/containerd/config.toml"
DEFAULT_ADDRESS = "/run/containerd/containerd.sock"


class ContainerdProgram:
    """An installed containerd."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.release = release_of(run([path, "--version"]))

    def dump(self, config: str) -> str:
        """Return a configuration as this containerd reads it. Raises DeploymentError if it refuses it."""
        return run([self.path, "--config", config, "config", "dump"])

    def dump_text(self, text: str, folder: str | None = None, drop_in: str = "") -> str:
        """Return how containerd reads a text as its configuration, with another text as its last import.

        folder is the folder of the real file, from which relative imports start. Raises DeploymentError.
        """
        with temporary(text, folder) as config:
            if not drop_in:
                return self.dump(config)
            with temporary(drop_in) as last:
                version = next(line for line in text.splitlines() if line.startswith("version"))
                with temporary(f'{version}\nimports = ["{config}", "{last}"]\n') as both:
                    return self.dump(both)


@contextmanager
def temporary(text: str, folder: str | None = None) -> Iterator[str]:
    """Write a text to a temporary file in folder, or in /tmp, until the end of the block."""
    with tempfile.NamedTemporaryFile("w", prefix=".runwasi-", suffix=".candidate", dir=folder) as file:
        file.write(text)
        file.flush()
        yield file.name


def release_of(text: str) -> tuple[int, int]:
    """Return the major and minor number in what `containerd --version` prints. Raises DeploymentError."""
    found = re.search(r"\bv?(\d+)\.(\d+)\.\d+", text)
    if not found:
        raise DeploymentError(f"cannot tell containerd's release from {text.strip()!r}")
    return int(found[1]), int(found[2])


def pid_behind(address: str) -> int:
    """Return the process that listens on a socket, 0 if there is none or we may not ask."""
    try:
        connection = sockets.connect(address, wait=False)
    except OSError:
        return 0
    try:
        return sockets.peer_credentials(connection)[0]
    finally:
        os.close(connection)


def started_at(pid: int) -> float:
    """Return when a process began, in seconds since 1970. Raises OSError. Source: man 5 proc_pid_stat, starttime."""
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)  # /proc/stat has it in whole seconds only
    return boot + processes.start_time(pid) / os.sysconf("SC_CLK_TCK")


def is_older_than(pid: int, files: Iterable[str]) -> bool:
    """Return whether a process began before one of the files was last written; pid 0 is no process."""
    if not pid:
        return False
    try:
        began = started_at(pid)
    except OSError:
        return False
    latest = began + 1 / os.sysconf("SC_CLK_TCK")  # the kernel rounds down
    return any(os.path.exists(path) and os.stat(path).st_mtime > latest for path in files)
