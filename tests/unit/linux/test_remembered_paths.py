"""Paths are looked up only as far as the kernel remembers them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from runwasi.linux import remembered_paths


def test_a_folder_that_was_just_used_is_found_without_its_links(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to("folder")
    link.is_dir()
    # The kernel gives up where it would note that the link was read, as it does unless that is newer than all writes.
    os.utime(link, (time.time() + 1000, 0), follow_symlinks=False)
    assert remembered_paths.real_folder(f"{tmp_path}/link/.") == f"{tmp_path.resolve()}/folder"


def test_what_is_no_folder_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert remembered_paths.real_folder(f"{tmp_path}/file") is None
    assert remembered_paths.real_folder(f"{tmp_path}/missing") is None


def test_a_fifo_is_told_from_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    assert remembered_paths.is_fifo(f"{tmp_path}/fifo")
    assert not remembered_paths.is_fifo(f"{tmp_path}/file")
    assert not remembered_paths.is_fifo(f"{tmp_path}/missing")


def test_filesystems_are_told_apart_before_a_folder_is_made(tmp_path: Path) -> None:
    assert remembered_paths.is_on_filesystem_of(str(tmp_path), f"{tmp_path}/not/yet")
    assert not remembered_paths.is_on_filesystem_of("/proc", f"{tmp_path}/not/yet")
    assert not remembered_paths.is_on_filesystem_of(f"{tmp_path}/missing", str(tmp_path))
