"""A moved root is rid of the host's kernel filesystems."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runwasi.executor.child import enter_root


def test_a_mount_whose_server_is_gone_is_no_kernel_filesystem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_fd: int) -> int:
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    monkeypatch.setattr(enter_root, "filesystem_type", refused)
    assert not enter_root._shows_the_kernel(str(tmp_path))


def test_procfs_is_one_and_a_folder_is_not(tmp_path: Path) -> None:
    assert enter_root._shows_the_kernel("/proc")
    assert not enter_root._shows_the_kernel(str(tmp_path))
