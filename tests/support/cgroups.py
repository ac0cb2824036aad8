"""Cgroups and processes for tests, which go when the test does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from runwasi.linux.cgroups import cgroup_at
from runwasi.linux.waiting import finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runwasi.linux.cgroups import Cgroup


@contextmanager
def removed_after(cgroup: Cgroup) -> Iterator[Cgroup]:
    """Make a cgroup; at the end kill what is in it and remove it."""
    cgroup.create()
    try:
        yield cgroup
    finally:
        cgroup.kill()
        finish(cgroup.remove())


@pytest.fixture
def cgroup(container_id: str) -> Iterator[Cgroup]:
    """A cgroup of the test's own, below the root."""
    with removed_after(cgroup_at(f"/{container_id}")) as cgroup:
        yield cgroup


@contextmanager
def process_in(cgroup: Cgroup, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command that is in the cgroup before its first instruction."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: cgroup.enter(0),  # noqa: PLW1509  tests have one thread
    )
    try:
        yield process
    finally:
        process.kill()
        if cgroup.frozen():
            cgroup.thaw()  # v1 lets a frozen process die only then
        process.communicate()


def cgroups_of(pid: int | str) -> list[str]:
    """Read a process's cgroups, a line each."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        return file.read().splitlines()


def run_in(cgroup: Cgroup, work: Callable[[], object]) -> int:
    """Do some work in a forked child that entered the cgroup; return its exit code, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            cgroup.enter(0)
            work()
            status = 0
        except OSError as error:
            status = error.errno or 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


FORKS_FOR_EVER = (
    "python3",
    "-ISc",
    """
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("forking", flush=True)
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
)
"""A program whose processes fork as fast as they can; its cgroup needs a limit of tasks."""
