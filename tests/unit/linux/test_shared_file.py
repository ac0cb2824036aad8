"""Bytes that are shared across a fork."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runwasi.linux.shared_file import SharedBytes


@pytest.fixture
def fd(tmp_path: Path) -> int:
    path = tmp_path / "file"
    path.write_bytes(bytes(4096))
    return os.open(path, os.O_RDWR)


def test_a_fork_writes_to_the_file(fd: int, tmp_path: Path) -> None:
    shared = SharedBytes(fd, 4096)
    os.close(fd)
    shared.share(with_forks=True)
    pid = os.fork()
    if pid == 0:
        shared.bytes[1] = b"x"
        os._exit(0)
    os.waitpid(pid, 0)
    assert shared.bytes.raw[:3] == b"\0x\0"
    assert (tmp_path / "file").read_bytes()[:3] == b"\0x\0"


@pytest.mark.parametrize("was_shared", [False, True])
def test_a_fork_that_is_not_meant_to_has_nothing_of_the_file(
    fd: int, tmp_path: Path, was_shared: bool
) -> None:
    shared = SharedBytes(fd, 4096)
    os.close(fd)
    if was_shared:
        shared.share(with_forks=True)
        shared.share(with_forks=False)
    pid = os.fork()
    if pid == 0:
        os._exit(str(tmp_path / "file") in Path("/proc/self/maps").read_text())
    assert os.waitpid(pid, 0)[1] == 0


def test_no_descriptor_stays_open_or_is_closed_with_the_object(fd: int) -> None:
    before = set(os.listdir("/proc/self/fd"))
    shared = SharedBytes(fd, 4096)
    assert set(os.listdir("/proc/self/fd")) == before
    del shared
    assert set(os.listdir("/proc/self/fd")) == before
    os.close(fd)


def test_a_failed_mapping_names_the_call(fd: int) -> None:
    os.close(fd)
    with pytest.raises(OSError, match="mmap"):
        SharedBytes(fd, 4096)
