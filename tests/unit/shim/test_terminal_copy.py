"""A terminal's copying to and fro, with a source and a sink that never make it wait."""

from __future__ import annotations

import os
import pty
from typing import TYPE_CHECKING

import pytest

from runwasi.linux.fd import Fd
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.streams import terminal_copy
from runwasi.shim.streams.terminal_copy import TerminalCopy

if TYPE_CHECKING:
    from collections.abc import Iterator


class Sink:
    """An output that takes any number of bytes."""

    def __init__(self) -> None:
        self.fd = Fd(os.open("/dev/null", os.O_WRONLY))
        self.over = False

    def process_ended(self) -> None:
        self.over = True

    def close(self) -> None:
        self.fd.close()


class Endless:
    """A console whose terminal always has more to read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reactor = Reactor(on_error=lambda error: pytest.fail(repr(error)))
        self.sink = Sink()
        self.reads = 0
        master, self.slave = pty.openpty()
        self.console = TerminalCopy(self.reactor, Fd(master), "", self.sink)  # type: ignore[arg-type]
        monkeypatch.setattr(terminal_copy, "_read_master", self._read)

    def _read(self, _master: Fd) -> bytes:
        self.reads += 1
        return b"y\n"


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endless]:
    endless = Endless(monkeypatch)
    yield endless
    endless.console.close()
    os.close(endless.slave)
    endless.reactor.close()


def test_output_without_end_leaves_turns_to_others(endless: Endless) -> None:
    turns: list[int] = []
    endless.reactor.call_later(0, lambda: turns.append(endless.reads))
    for _ in range(3):
        endless.reactor.turn()
    assert turns
    assert endless.reads > turns[0]  # and it goes on by itself


def test_output_goes_on_once_a_turn_whatever_asks_for_it(endless: Endless) -> None:
    endless.reactor.turn()
    before = endless.reads
    for _ in range(10):
        endless.console._master_ready(0)
    asked = endless.reads
    endless.reactor.turn()
    assert endless.reads - asked <= (asked - before) // 10
