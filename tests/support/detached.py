"""Containers that outlive the command that made them, and so must not hold its pipes."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

from devtools.bundle import Bundle
from tests.support.runtime import Runtime


class Detached:
    """A container made from a bundle in the background; what it prints goes to files in the bundle."""

    def __init__(self, runtime: Runtime, bundle: Bundle, container_id: str) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.id = container_id

    def create(self, *options: str, stdin: int = subprocess.DEVNULL, pass_fds: tuple[int, ...] = ()) -> None:
        """Create it."""
        self._make("create", *options, stdin=stdin, pass_fds=pass_fds)

    def run(self, *options: str, stdin: int = subprocess.DEVNULL, pass_fds: tuple[int, ...] = ()) -> None:
        """Create and start it."""
        self._make("run", "--detach", *options, stdin=stdin, pass_fds=pass_fds)

    def _make(self, *words: str, stdin: int, pass_fds: tuple[int, ...]) -> None:
        command = self.runtime.command(*words, "--bundle", str(self.bundle.path), self.id)
        with self._path("stdout").open("ab") as stdout, self._path("stderr").open("ab") as stderr:
            done = subprocess.run(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                timeout=60,
                check=False,
            )
        if done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{self.errors}")

    @property
    def output(self) -> str:
        """Its output so far."""
        return self._path("stdout").read_text()

    @property
    def errors(self) -> str:
        """The errors that it, and the command that made it, have printed so far."""
        return self._path("stderr").read_text()

    @property
    def status(self) -> str:
        """Its status."""
        return str(self.runtime.state(self.id)["status"])

    @property
    def pid(self) -> int:
        """Its first process."""
        return int(self.runtime.state(self.id)["pid"])

    def wait(self) -> None:
        """Wait until its first process is gone."""
        pid = self.pid
        if pid:
            wait_for_exit(pid)

    def _path(self, name: str) -> Path:
        return self.bundle.path / name


def wait_for_exit(pid: int) -> None:
    """Wait until a process that need not be our child is gone."""
    import select

    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(30_000), f"process {pid} is still there"
    finally:
        os.close(pidfd)


def descendants(pid: int) -> list[int]:
    """All children of a process, and theirs."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found
