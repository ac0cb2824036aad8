"""Opening the streams of a process: files arrive in sockets that hold no more than the process takes out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runwasi.executor.errors import ContainerError
from runwasi.executor.plan.sent_stdio import received
from runwasi.linux import sockets
from runwasi.linux.waiting import finish
from runwasi.shim.server.log import Log
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.streams.process_streams import StreamPaths, Streams


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    reactor = Reactor(on_error=lambda error: pytest.fail(repr(error)))
    yield reactor
    reactor.close()


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log(os.open("/dev/null", os.O_WRONLY))
    yield log
    log.close()


@pytest.fixture
def opened(reactor: Reactor, log: Log) -> Iterator[Callable[[StreamPaths], Streams]]:
    """Opens streams, and closes them after the test."""
    made: list[Streams] = []

    def open_streams(paths: StreamPaths) -> Streams:
        made.append(Streams(reactor, paths, "c", "ns", (0, 0), {}, log))
        finish(made[-1].ready())
        return made[-1]

    yield open_streams
    for streams in made:
        streams.close()


@pytest.mark.parametrize("stderr", ["", "log", "other"])
def test_nothing_is_left_in_a_files_socket_once_the_process_has_its_streams(
    opened: Callable[[StreamPaths], Streams], tmp_path: Path, stderr: str
) -> None:
    (tmp_path / "in").write_text("in")
    second = f"file://{tmp_path}/{stderr}" if stderr else ""
    streams = opened(StreamPaths(str(tmp_path / "in"), f"file://{tmp_path}/log", second, False))
    fds = received(streams.stdio)
    try:
        assert os.read(fds[0], 9) == b"in"
        os.write(fds[1], b"out")
        assert (tmp_path / "log").read_text() == "out"
        for fd, stream in zip(fds, streams.stdio.fds(), strict=True):
            if fd != stream:
                assert sockets.receive_fds(stream) == (b"", [])
    finally:
        sockets.close_all(set(fds) - set(streams.stdio.fds()))


def test_a_terminal_takes_its_input_from_a_fifo_only(
    opened: Callable[[StreamPaths], Streams], tmp_path: Path
) -> None:
    (tmp_path / "in").touch()
    with pytest.raises(ContainerError, match=f"open {tmp_path}/in: the input of a terminal must be a FIFO"):
        opened(StreamPaths(str(tmp_path / "in"), "", "", True))
