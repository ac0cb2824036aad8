"""Paths a guest gives lead nowhere but into its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runwasi.wasi.filesystem.paths import Parent, open_beneath


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


def _read(folder: int, path: str, *, is_root: bool = False) -> bytes:
    fd = open_beneath(folder, path, os.O_RDONLY, is_root=is_root)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


@pytest.mark.parametrize("path", ["file", "deep/../file", "deep/up", "./deep/./up"])
def test_what_is_inside_opens(folder: int, path: str) -> None:
    assert _read(folder, path) == b"inside"


@pytest.mark.parametrize(
    "path", ["../secret", "out", "/etc/passwd", "absolute", "away/etc/passwd", "deep/../../secret"]
)
def test_what_leads_out_is_refused(folder: int, path: str) -> None:
    with pytest.raises(PermissionError):
        _read(folder, path)


def test_in_a_root_absolute_links_lead_within_it(folder: int) -> None:
    assert _read(folder, "absolute", is_root=True) == b"inside"
    with pytest.raises(FileNotFoundError):
        _read(folder, "away/etc/passwd", is_root=True)
    with pytest.raises(FileNotFoundError):
        _read(folder, "../secret", is_root=True)


@pytest.mark.parametrize("path", ["", ".", "..", "deep/..", "/"])
def test_a_parent_needs_a_name(folder: int, path: str) -> None:
    with pytest.raises(OSError, match=r"Invalid argument|No such file"):
        Parent(folder, path)


@pytest.mark.parametrize("path", ["../new", "away/new", "/new"])
def test_a_parent_is_inside(folder: int, path: str) -> None:
    with pytest.raises(PermissionError):
        Parent(folder, path)


def test_a_nul_is_refused(folder: int) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        _read(folder, "fi\0le")
