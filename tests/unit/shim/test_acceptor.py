"""Accepting connections: rests when descriptors run out, is held back, and ends."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from runwasi.linux import sockets
from runwasi.linux.fd import Fd
from runwasi.shim.server.acceptor import Acceptor
from runwasi.shim.server.reactor import Reactor


class Door:
    """An acceptor, what it accepted and what it complained of; accepting fails while `full`.

    No time passes: a rest is over when end_rest says so.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = str(path)
        self.full = False
        self.tries = 0
        self.pids: list[int] = []
        self.faults: list[Exception] = []
        self.refuses = False
        self.complaints: list[int | None] = []
        self._accept = sockets.accept
        monkeypatch.setattr(sockets, "accept", self._try)
        self._rests: list[Callable[[], None]] = []
        self.reactor = Reactor(on_error=self.faults.append)
        monkeypatch.setattr(
            self.reactor, "call_later", lambda _seconds, callback: self._rests.append(callback)
        )
        self.acceptor = Acceptor(
            self.reactor,
            Fd(sockets.listen(self.path)),
            self._connected,
            lambda error: self.complaints.append(error.errno),
            at_once=2,
        )

    def knock(self) -> closing[socket.socket]:
        """Connect."""
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        return closing(client)

    def turn(self) -> None:
        """Run a turn of the reactor that waits for nothing."""
        self.reactor.call_soon(lambda: None)
        self.reactor.turn()

    def end_rest(self) -> None:
        """Let the acceptor's rest be over."""
        self._rests.pop()()
        assert not self._rests

    def _try(self, listener: int) -> int:
        self.tries += 1
        if self.full:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self._accept(listener)

    def _connected(self, fd: int, pid: int) -> None:
        if self.refuses:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.close(fd)
        self.pids.append(pid)


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    made = Door(tmp_path / "s", monkeypatch)
    yield made
    assert made.refuses or not made.faults
    made.acceptor.close()
    made.reactor.close()


def test_it_rests_while_there_are_no_descriptors_and_complains_once(door: Door) -> None:
    door.full = True
    with door.knock():
        for tries in (1, 2, 3):
            door.turn()
            assert door.tries == tries
            door.turn()
            assert door.tries == tries  # it rests
            door.end_rest()
        assert door.complaints == [errno.EMFILE]
        door.full = False
        door.turn()
        assert door.pids == [os.getpid()]
    door.full = True
    with door.knock():
        door.turn()
        assert door.complaints == [errno.EMFILE] * 2


def test_it_stays_held_back_when_its_rest_is_over(door: Door) -> None:
    door.full = True
    with door.knock():
        door.turn()
        door.full = False
        door.acceptor.hold_back(True)
        door.end_rest()
        door.turn()
        assert not door.pids
        door.acceptor.hold_back(False)
        door.turn()
        assert door.pids == [os.getpid()]


def test_what_waits_at_the_end_is_accepted_as_far_as_there_is_room(door: Door) -> None:
    with door.knock(), door.knock(), door.knock():
        door.acceptor.accept_waiting()
        assert len(door.pids) == 3
        door.full = True
        door.acceptor.accept_waiting()
        assert door.complaints == [errno.EMFILE]
        door.acceptor.close()
        door.acceptor.close()
        assert not door.acceptor.listening


def test_a_client_that_cannot_be_served_is_closed_and_the_next_one_accepted(door: Door) -> None:
    door.refuses = True
    with door.knock() as client:
        door.turn()
        assert client.recv(1) == b""
    assert len(door.faults) == 1
    assert not door.complaints
    door.refuses = False
    door.faults.clear()
    with door.knock():
        door.turn()
        assert door.pids == [os.getpid()]


def test_a_client_that_cannot_be_served_at_the_end_is_closed(door: Door) -> None:
    door.refuses = True
    with door.knock() as client:
        door.acceptor.accept_waiting()
        assert client.recv(1) == b""
    assert len(door.complaints) == 1
