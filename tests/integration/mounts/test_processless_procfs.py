"""A procfs without processes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from runwasi.linux import processless
from runwasi.linux.filesystems import PROC_SUPER_MAGIC, filesystem_type
from runwasi.linux.idmap import IdMap, user_namespace_for
from runwasi.linux.mount_fds import open_tree
from runwasi.linux.namespaces import CLONE_NEWNS, CLONE_NEWUSER
from runwasi.linux.processless import (
    processless_procfs,
    processless_procfs_by_way_of,
    procfs_to_copy,
)
from tests.support.in_namespaces import run_in


def names(mount: int) -> set[str]:
    """List it and close it."""
    assert filesystem_type(mount) == PROC_SUPER_MAGIC
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=mount)
    found = set(os.listdir(folder))
    for own in ("self/mem", "thread-self/mem", f"{os.getpid()}/mem", "1/status"):
        with pytest.raises(FileNotFoundError):
            os.open(own, os.O_RDONLY, dir_fd=mount)
    os.close(folder)
    os.close(mount)
    return found


def test_it_shows_everything_but_processes() -> None:
    here = {name for name in os.listdir("/proc") if not name.isdigit()}
    assert names(processless_procfs()) == here


def test_each_is_apart_from_the_others_and_leaves_nothing() -> None:
    before = set(os.listdir("/proc/self/fd"))
    mounts = [processless_procfs() for _ in range(20)]
    assert len({os.fstat(mount).st_dev for mount in mounts}) == 20
    for mount in mounts:
        os.close(mount)
    assert set(os.listdir("/proc/self/fd")) == before
    assert not Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def test_a_user_namespaces_root_may_have_one() -> None:
    assert "cpuinfo" in run_in(CLONE_NEWUSER | CLONE_NEWNS, lambda: names(processless_procfs()))


def test_by_way_of_a_user_namespace_one_needs_no_privileges() -> None:
    maps = [IdMap(0, 100_000, 65_536)]
    userns = user_namespace_for(maps, maps)
    try:
        assert "cpuinfo" in names(processless_procfs_by_way_of(userns))
    finally:
        os.close(userns)


def test_one_that_is_kept_serves_a_user_namespace_too() -> None:
    kept = procfs_to_copy()
    if kept is None:  # before Linux 6.15
        assert tuple(int(part) for part in os.uname().release.split(".")[:2]) < (6, 15)
        return
    number: int = kept
    copied = run_in(CLONE_NEWUSER | CLONE_NEWNS, lambda: names(open_tree("", number)))
    assert names(kept) == copied


def test_a_refusal_is_told() -> None:
    def refused() -> None:
        os.setresuid(1000, 1000, 1000)
        with pytest.raises(PermissionError, match="clone"):
            processless_procfs()
        with pytest.raises(OSError, match="procfs of a user namespace"):
            processless_procfs_by_way_of(0)

    run_in(0, refused)


def test_signals_that_come_meanwhile_are_ours_afterwards() -> None:
    def with_signals() -> int:
        came: list[int] = []
        signal.signal(signal.SIGALRM, lambda number, _: came.append(number))
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        for _ in range(200):
            os.close(processless_procfs())
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
        return len(came)

    assert run_in(0, with_signals)


def test_another_c_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processless, "_CALLS", ())
    with pytest.raises(OSError, match="setcontext"):
        processless_procfs()
