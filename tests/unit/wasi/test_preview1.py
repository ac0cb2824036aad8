"""WASI preview 1 without an engine: what each function has, and how a guest's descriptors and listings behave."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runwasi.engines import wasip1
from runwasi.linux.file_calls import getdents64
from runwasi.wasi.preview1 import files, host, listing, paths
from runwasi.wasi.preview1.abi import DIRENT, ERRNO, Errno
from runwasi.wasi.preview1.module_guest import Guest


def test_every_function_that_is_provided_is_there() -> None:
    assert set(host.SIGNATURES) == wasip1.FUNCTIONS
    unstable = {f"wasi_unstable.{name}" for name in host.SIGNATURES} - {"wasi_unstable.sock_accept"}
    assert unstable == wasip1.UNSTABLE


def test_each_function_takes_what_its_signature_says() -> None:
    for name, function in host._FUNCTIONS.items():
        needed = function.__code__.co_argcount - len(function.__defaults__ or ())
        assert needed == 1 + len(host.SIGNATURES[name]), name


@pytest.mark.parametrize(("name", "number"), [("EPERM", 63), ("EROFS", 69), ("ENOENT", 44), ("EXDEV", 75)])
def test_errnos_are_those_of_the_specification(name: str, number: int) -> None:
    assert ERRNO[getattr(errno, name)] == number


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    one = Guest()
    one.view = memoryview(bytearray(1 << 16))
    one.begin((), (), [(str(tmp_path), "/")])
    return one


def test_a_long_listing_is_read_from_the_kernel_once(
    guest: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2000):
        (tmp_path / f"file{number}").touch()
    read = 0

    def counted(fd: int) -> bytes:
        nonlocal read
        entries = getdents64(fd)
        read += len(entries)
        return entries

    monkeypatch.setattr(listing, "getdents64", counted)
    cookie, size = 0, 512
    while size == 512:
        assert files.fd_readdir(guest, 3, 0, 512, cookie, 1024) == 0
        size = int.from_bytes(guest.view[1024:1028], "little")
        at = 0
        while at + DIRENT.size <= size:
            following, _, length, _ = DIRENT.unpack_from(guest.view, at)
            at += DIRENT.size + length
            if at <= size:
                cookie = following
    assert read < 2 * 2002 * 40


def test_a_name_with_a_nul_is_refused(guest: Guest) -> None:
    guest.view[:5] = b"fi\0le"
    with pytest.raises(OSError, match="NUL"):
        paths.path_unlink_file(guest, 3, 0, 5)


def test_names_that_are_not_utf_8_are_files_like_others(guest: Guest, tmp_path: Path) -> None:
    name = b"caf\xe9"
    guest.view[: len(name)] = name
    assert paths.path_create_directory(guest, 3, 0, len(name)) == 0
    assert os.listdir(os.fsencode(tmp_path)) == [name]


@pytest.mark.parametrize("path", [b"../out", b"away/out", b"/out", b"in/../../out"])
def test_nothing_is_made_or_removed_outside(guest: Guest, tmp_path: Path, path: bytes) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "away").symlink_to("..")
    guest.view[: len(path)] = path
    for attempt in (paths.path_create_directory, paths.path_remove_directory, paths.path_unlink_file):
        with pytest.raises(PermissionError):
            attempt(guest, 3, 0, len(path))
    assert not (tmp_path.parent / "out").exists()


def test_a_link_with_a_slash_after_it_is_not_followed_out(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "away").symlink_to("/usr")
    guest.view[:5] = b"away/"
    with pytest.raises(PermissionError):
        paths.path_filestat_get(guest, 3, 0, 0, 5, 64)
    with pytest.raises(PermissionError):
        paths.path_readlink(guest, 3, 0, 5, 64, 64, 256)
    with pytest.raises(NotADirectoryError):
        paths.path_remove_directory(guest, 3, 0, 5)


def test_standard_streams_are_used_one_way_only(guest: Guest) -> None:
    for read_or_write, fd in ((files.fd_read, 1), (files.fd_write, 0)):
        with pytest.raises(Errno):
            read_or_write(guest, fd, 0, 1, 64)
