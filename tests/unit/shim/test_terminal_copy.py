"""A terminal's copying to and fro, with a source and a sink that never make it wait."""

from __future__ import annotations

import os
import pty
import select
import signal
from typing import TYPE_CHECKING

import pytest

from runwasi.linux import processes, sockets
from runwasi.linux.fd import Fd, owner_of
from runwasi.shim.server.log import Log
from runwasi.shim.server.reactor import Reactor
from runwasi.shim.streams import terminal_copy
from runwasi.shim.streams.file_copy import FileCopy
from runwasi.shim.streams.outputs import PlainOutput, SentFile
from runwasi.shim.streams.terminal_copy import TerminalCopy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runwasi.linux.processes import Child
    from runwasi.shim.streams.outputs import ProcessOutput


class Sink(PlainOutput):
    """An output that takes any number of bytes, and knows whether its process has ended."""

    def __init__(self) -> None:
        super().__init__(Fd(os.open("/dev/null", os.O_WRONLY)))
        self.over = False

    def process_ended(self) -> None:
        self.over = True


class Endless:
    """A console whose terminal always has more to read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reactor = Reactor(on_error=lambda error: pytest.fail(repr(error)))
        self.sink = Sink()
        self.reads = 0
        master, self.slave = pty.openpty()
        self.console = TerminalCopy(self.reactor, Fd(master), None, self.sink)
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


class Copied:
    """A terminal whose output a process copies into a file that takes nothing, or into a reader that is gone."""

    def __init__(self) -> None:
        self.reactor = Reactor(on_error=lambda error: pytest.fail(repr(error)))
        self.log, end = os.pipe2(os.O_NONBLOCK)
        self._log = Log(end)
        self.output: ProcessOutput
        self.console: TerminalCopy
        self.copy: FileCopy
        self.master: int
        self.slave: int

    def open(self, output: ProcessOutput) -> None:
        self.output = output
        self.master, self.slave = pty.openpty()
        os.set_blocking(self.slave, False)
        self.console = TerminalCopy(self.reactor, Fd(self.master), None, output)

    def copy_to(self, path: str) -> None:
        ours, theirs = map(Fd, sockets.socket_pair())
        file = os.open(path, os.O_WRONLY)
        sockets.send_fds(theirs.fileno(), b"\0", (file,))
        os.close(file)
        theirs.close()
        self.copy = FileCopy(self.reactor, SentFile(ours), path, self._log)
        self.open(self.copy.stdout)

    def says(self, size: int) -> None:
        """Have the process write so much, and wait until the terminal has taken it all."""
        while size:
            try:
                size -= os.write(self.slave, b"x" * size)
            except BlockingIOError:
                self.reactor.turn()

    def ends(self) -> None:
        """Wait until the reader's end has been noticed."""
        while self.output.fd is not None:
            self.reactor.turn()

    def close(self) -> None:
        self.console.close()
        self.reactor.close()
        self._log.close()
        for fd in (self.slave, self.log):
            os.close(fd)


@pytest.fixture
def copied() -> Iterator[Copied]:
    copied = Copied()
    yield copied
    copied.close()


def test_a_file_that_is_full_ends_the_copy_once_and_the_terminal_goes_on(copied: Copied) -> None:
    copied.copy_to("/dev/full")
    copied.says(1)
    copied.ends()
    copied.says(1 << 20)
    copied.says(1 << 20)
    assert os.read(copied.log, 4096).count(b"write /dev/full: No space left on device") == 1


def test_a_reader_that_is_gone_is_noticed_without_output(copied: Copied) -> None:
    reading, writing = os.pipe()
    copied.open(PlainOutput(Fd(writing)))
    os.close(reading)
    copied.ends()
    copied.says(1 << 20)


def test_output_for_a_reader_that_is_gone_is_dropped(copied: Copied) -> None:
    reading, writing = os.pipe()
    copied.open(PlainOutput(Fd(writing)))
    copied.says(1)  # which is ready before the reader is gone
    os.close(reading)
    copied.ends()
    copied.says(1 << 20)


def test_a_terminal_whose_reader_is_gone_outlives_its_server(copied: Copied) -> None:
    reading, writing = os.pipe()
    copied.open(PlainOutput(Fd(writing)))
    os.close(reading)
    copied.ends()
    kept: list[int] = []

    def keep(fd: Fd | None) -> int | None:
        kept.append(-1 if fd is None else os.dup(fd.fileno()))
        return None if fd is None else kept[-1]

    state, output = copied.console.state(keep), copied.output.state(keep)
    copied.console.close()
    assert state is not None
    copied.output = PlainOutput(owner_of(output["fd"]))
    copied.console = TerminalCopy.taken_over(copied.reactor, state, copied.output)
    copied.says(1 << 20)


def test_nothing_is_lost_if_the_copy_is_asked_to_end_before_it_begins(
    copied: Copied, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fork_into = processes.fork_into

    def terminated(flags: int) -> Child | None:
        child = fork_into(flags)
        if child is None:
            os.kill(os.getpid(), signal.SIGTERM)
        return child

    monkeypatch.setattr(processes, "fork_into", terminated)
    log = tmp_path / "log"
    log.touch()
    copied.copy_to(str(log))
    monkeypatch.undo()
    os.write(copied.slave, b"first")
    select.select([copied.master], [], [])  # the kernel passes it on in a thread of its own
    copied.reactor.turn()
    copied.console.close()
    copied.copy.stop()
    while copied.copy.state(lambda fd: fd.fileno() if fd else None)["pidfd"] is not None:
        copied.reactor.turn()
    assert log.read_text() == "first"
