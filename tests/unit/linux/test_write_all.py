"""Files that do not fit, whose first part the kernel takes without an error."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runwasi.executor.lifecycle.store import StateFolder
from runwasi.executor.process.process_settings import write_pid_file
from runwasi.executor.process.seccomp_profile import _store
from runwasi.linux.fd import Fd
from runwasi.shim.bootstrap import write_address_file

_SPACE = 4096


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """Cut writes beyond so many bytes of a file as a full disk does; also those of pytest, hence not a fixture."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_state_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    folder = StateFolder(str(tmp_path), "c")
    folder.write("state.json", b"old")
    with room_for(_SPACE), pytest.raises(OSError, match="File too large") as raised:
        folder.write("state.json", bytes(_SPACE + 1))
    assert raised.value.filename == str(tmp_path / "c/state.json")
    assert (tmp_path / "c/state.json").read_bytes() == b"old"


def test_a_filter_that_does_not_fit_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runwasi.executor.process.seccomp_profile._library_path", lambda: "/bin/sh")
    with Fd(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)) as folder, room_for(_SPACE):
        _store(folder.fileno(), "key", bytes(_SPACE))
    assert list(tmp_path.iterdir()) == []


def test_a_pid_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        write_pid_file(f"{tmp_path}/none/pid", 7)
    assert refused.value.filename == f"{tmp_path}/none/pid"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/null", path)])
def test_a_pid_file_replaces_nothing_but_a_file(tmp_path: Path, make: Callable[[str], None]) -> None:
    make(f"{tmp_path}/pid")
    before = os.lstat(tmp_path / "pid")
    with pytest.raises(FileExistsError, match="is not a regular file"):
        write_pid_file(f"{tmp_path}/pid", 7)
    assert os.lstat(tmp_path / "pid") == before
    assert os.listdir(tmp_path) == ["pid"]
    (tmp_path / "old").write_text("1234")
    write_pid_file(f"{tmp_path}/old", 7)
    assert (tmp_path / "old").read_text() == "7"


def test_an_address_or_a_pid_that_does_not_fit_names_its_file(tmp_path: Path) -> None:
    with room_for(0):
        with pytest.raises(OSError, match="File too large") as address:
            write_address_file(str(tmp_path), "unix:///run/s")
        with pytest.raises(OSError, match="File too large") as pid:
            write_pid_file(str(tmp_path / "init.pid"), 7)
    assert (address.value.filename, pid.value.filename) == (f"{tmp_path}/address", f"{tmp_path}/init.pid")
