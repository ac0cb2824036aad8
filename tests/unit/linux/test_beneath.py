"""Paths resolved and made beneath a root."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from runwasi.linux.beneath import RESOLVE_NO_SYMLINKS, make_dirs, make_file, open_beneath, open_in_root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    fd = os.open(root, os.O_PATH)
    yield fd
    os.close(fd)


def where(fd: int) -> str:
    """Return the path of a descriptor and close it."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def test_links_and_dots_stay_in_the_root(root: Path, root_fd: int) -> None:
    (root / "etc").mkdir()
    (root / "absolute").symlink_to("/etc")
    (root / "up").symlink_to("../../../../etc")
    for path in ("/etc", "../../etc", "absolute", "up", "absolute/../up"):
        assert where(open_in_root(root_fd, path, os.O_PATH)) == str(root / "etc")


def test_magic_links_are_refused(root: Path, root_fd: int) -> None:
    proc = os.open("/proc", os.O_PATH)
    try:
        with pytest.raises(OSError, match="symbolic links"):
            open_in_root(proc, "self/root", os.O_PATH)
    finally:
        os.close(proc)


def test_an_error_names_the_path_and_keeps_its_kind(root_fd: int) -> None:
    with pytest.raises(FileNotFoundError, match="open /no/such"):
        open_in_root(root_fd, "/no/such", os.O_PATH)


def test_no_link_at_all_can_be_asked_for(root: Path, root_fd: int) -> None:
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    assert where(open_beneath(root_fd, "real", os.O_PATH, resolve=RESOLVE_NO_SYMLINKS)) == str(root / "real")
    with pytest.raises(OSError, match="symbolic links"):
        open_beneath(root_fd, "link", os.O_PATH, resolve=RESOLVE_NO_SYMLINKS)


def test_missing_directories_are_made_with_the_mode(root: Path, root_fd: int) -> None:
    assert where(make_dirs(root_fd, "/a//b/./c", 0o711)) == str(root / "a/b/c")
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o711
    assert where(make_dirs(root_fd, "/")) == str(root)


def test_a_dangling_link_is_made_to_lead_somewhere_inside(root: Path, root_fd: int, tmp_path: Path) -> None:
    (root / "var").mkdir()
    (root / "var/run").symlink_to("/run")
    (root / "out").symlink_to(f"../../..{tmp_path}/outside")
    assert where(make_dirs(root_fd, "/var/run/secrets")) == str(root / "run/secrets")
    assert where(make_file(root_fd, "/out")) == f"{root}{tmp_path}/outside"
    assert not (tmp_path / "outside").exists()


def test_a_loop_of_links_is_an_error(root: Path, root_fd: int) -> None:
    (root / "a").symlink_to("b/x")
    (root / "b").symlink_to("a/x")
    with pytest.raises(OSError, match="symbolic links"):
        make_dirs(root_fd, "a/below")


def test_a_file_in_the_way_of_a_directory_is_an_error(root: Path, root_fd: int) -> None:
    (root / "file").touch()
    for path in ("/file", "/file/below"):
        with pytest.raises(NotADirectoryError):
            make_dirs(root_fd, path)


def test_an_existing_file_is_opened_as_it_is(root: Path, root_fd: int) -> None:
    (root / "file").write_text("kept")
    assert where(make_file(root_fd, "/file")) == str(root / "file")
    assert (root / "file").read_text() == "kept"


def test_a_missing_file_is_made_with_what_is_above_it(root: Path, root_fd: int) -> None:
    assert where(make_file(root_fd, "/etc/app/config", 0o600)) == str(root / "etc/app/config")
    assert stat.S_IMODE((root / "etc/app/config").stat().st_mode) == 0o600
