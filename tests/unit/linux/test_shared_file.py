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
    pid = os.fork()
    if pid == 0:
        shared.bytes[1] = b"x"
        os._exit(0)
    os.waitpid(pid, 0)
    assert shared.bytes.raw[:3] == b"\0x\0"
    assert (tmp_path / "file").read_bytes()[:3] == b"\0x\0"


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
