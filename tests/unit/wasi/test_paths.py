"""Paths a guest gives lead nowhere but into its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runwasi.wasi.filesystem.confined_paths import ParentFolder, open_path
from runwasi.wasi.filesystem.confinement import BENEATH, IN_THE_ROOT, THE_ROOT, confinements, inherited


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A folder with links out of it."""
    (tmp_path / "secret").write_text("secret")
    inside = tmp_path / "inside"
    (inside / "deep").mkdir(parents=True)
    (inside / "file").write_text("inside")
    (inside / "deep/up").symlink_to("../file")
    (inside / "out").symlink_to("../secret")
    (inside / "absolute").symlink_to("/file")
    (inside / "away").symlink_to("/")
    fd = os.open(inside, os.O_RDONLY)
    yield fd
    os.close(fd)


def _read(folder: int, path: str, confinement: int = BENEATH) -> bytes:
    fd = open_path(folder, path, os.O_RDONLY, 0, confinement)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


@pytest.mark.parametrize("path", ["file", "deep/../file", "deep/up", "./deep/./up"])
def test_a_path_inside_opens(folder: int, path: str) -> None:
    assert _read(folder, path) == b"inside"


@pytest.mark.parametrize(
    "path", ["../secret", "out", "/etc/passwd", "absolute", "away/etc/passwd", "deep/../../secret"]
)
def test_a_path_that_leads_out_is_refused(folder: int, path: str) -> None:
    with pytest.raises(PermissionError):
        _read(folder, path)


def test_in_a_root_absolute_links_lead_within_it(folder: int) -> None:
    assert _read(folder, "absolute", THE_ROOT) == b"inside"
    with pytest.raises(FileNotFoundError):
        _read(folder, "away/etc/passwd", THE_ROOT)
    with pytest.raises(FileNotFoundError):
        _read(folder, "../secret", THE_ROOT)


@pytest.mark.parametrize("path", ["", ".", "..", "deep/..", "/"])
def test_a_parent_needs_a_name(folder: int, path: str) -> None:
    with pytest.raises(OSError, match=r"Invalid argument|No such file"):
        ParentFolder(folder, path, BENEATH)


@pytest.mark.parametrize("path", ["../new", "away/new", "/new"])
def test_a_parent_is_inside(folder: int, path: str) -> None:
    with pytest.raises(PermissionError):
        ParentFolder(folder, path, BENEATH)


def test_a_nul_is_refused(folder: int) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        _read(folder, "fi\0le")


def test_a_folder_in_the_root_leads_all_over_the_root(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("inside")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/absolute").symlink_to(tmp_path / "file")
    deep = os.open(tmp_path / "deep", os.O_PATH)
    try:
        assert _read(deep, "absolute", IN_THE_ROOT) == b"inside"
        assert _read(deep, "../file", IN_THE_ROOT) == b"inside"
        with pytest.raises(PermissionError):
            _read(deep, "absolute", BENEATH)
    finally:
        os.close(deep)


@pytest.mark.parametrize("confinement", [THE_ROOT, IN_THE_ROOT, BENEATH])
@pytest.mark.parametrize("path", ["self/exe", "self/cwd/passwd", "self/root/etc/passwd", "thread-self/fd/0"])
def test_no_magic_link_is_followed(confinement: int, path: str) -> None:
    proc = os.open("/proc", os.O_PATH)
    try:
        with pytest.raises(OSError, match="Too many levels"):
            _read(proc, path, confinement)
    finally:
        os.close(proc)


def test_a_folder_has_the_whole_root_only_if_the_guest_has_it() -> None:
    assert confinements([("/data", "/")]) == [("/data", "/", BENEATH)]
    assert confinements([("/app", "."), ("/", "/")]) == [("/app", ".", IN_THE_ROOT), ("/", "/", THE_ROOT)]
    assert [inherited(one) for one in (THE_ROOT, IN_THE_ROOT, BENEATH)] == [IN_THE_ROOT, IN_THE_ROOT, BENEATH]
