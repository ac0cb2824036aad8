"""Descriptors over sockets, credentials and long paths."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runwasi.linux import sockets


def test_data_and_descriptors_arrive_together() -> None:
    one, other = sockets.socket_pair()
    reading, writing = os.pipe()
    sockets.send_fds(one, b"take these", (reading, writing))
    data, (got_reading, got_writing) = sockets.receive_fds(other)
    assert data == b"take these"
    assert not os.get_inheritable(got_reading)
    os.write(got_writing, b"through")
    assert os.read(reading, 10) == b"through"
    sockets.close_all((one, other, reading, writing, got_reading, got_writing))


def test_a_closed_peer_is_an_empty_answer() -> None:
    one, other = sockets.socket_pair()
    os.close(one)
    assert sockets.receive_fds(other) == (b"", [])
    os.close(other)


def test_a_message_that_was_cut_off_is_an_error_and_leaks_nothing() -> None:
    one, other = sockets.socket_pair()
    sockets.send_fds(one, b"too long", (one,))
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Message too long"):
        sockets.receive_fds(other, 3)
    assert sorted(os.listdir("/proc/self/fd")) == before
    sockets.close_all((one, other))


@pytest.mark.parametrize("length", [1, 150])
def test_a_socket_of_any_path_is_private_and_tells_who_connects(tmp_path: Path, length: int) -> None:
    folder = tmp_path / ("x" * length)
    folder.mkdir()
    path = str(folder / "socket")
    listener = sockets.listen(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    client = sockets.connect(path)
    server = sockets.accept(listener)
    assert sockets.peer_credentials(server) == (os.getpid(), os.geteuid(), os.getegid())
    sockets.close_all((listener, client, server))


def test_errors_name_the_path(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with pytest.raises(FileNotFoundError, match=f"connect {path}"):
        sockets.connect(path)
    listener = sockets.listen(path)
    with pytest.raises(OSError, match=f"Address already in use: 'bind {path}'"):
        sockets.listen(path)
    os.close(listener)
    with pytest.raises(OSError, match="File name too long"):
        sockets.listen(str(tmp_path / ("y" * 120)))
